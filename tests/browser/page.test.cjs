// The key page in a real browser: every flow with and without JavaScript, what a secret leaves behind, who can use it.
"use strict";
const assert = require("node:assert/strict");
const fs = require("node:fs");
const { after, describe, test } = require("node:test");
const { execFileSync } = require("node:child_process");
const { base, plain, secure, close, person, submit, follow, text, type, make } = require("./browser.cjs");

const axe = fs.readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const home = { staff: "/admin/keys", customer: "/settings/keys" };

after(close);

/** Leaves a page with a secret. */
async function stored(page) {
  await submit(page, "#stored");
}

/** The paths of all pages about a key, as `who` sees them. */
async function pages(page, who, name) {
  await page.goto(`${base}${home[who]}?name=${encodeURIComponent(name)}`);
  const key = await page.$eval("tbody a", (link) => new URL(link.href).pathname);
  const list = home[who];
  const asked = "method=POST&path=/invoices";
  return [list, `${list}?name=none`, `${list}/new`, key, `${key}?${asked}`, `${key}?${asked.replace("/", "")}&address=x`, ...["edit", "rotate", "revoke", "delete"].map((verb) => `${key}/${verb}`), `${list}/key/none`];
}

for (const javascript of [true, false]) {
  for (const who of ["customer", "staff"]) {
    test(`${who}: every flow ${javascript ? "with" : "without"} JavaScript`, async () => {
      const name = `Flow of ${who} ${javascript ? 1 : 2}`;
      const page = await person(who, { javascript });
      assert.match(await text(page), /Nightly export/);

      const secret = await make(page, name);
      assert.match(secret, /^acme_\w{32,}$/);
      const invoices = await fetch(`${base}/invoices`, { headers: { "x-api-key": secret } });
      assert.equal(invoices.status, 200);
      await stored(page);
      assert.match(await text(page, "h1"), new RegExp(name));

      await follow(page, "Edit");
      if (who === "staff") {
        await page.click("summary");
        await page.type("#limits", "requests 5");
      } else {
        assert.equal(await page.$("#limits"), null, "a customer sets no limits");
      }
      await type(page, "#name", `${name}, changed`);
      await submit(page, "button.primary");
      assert.match(await text(page), who === "staff" ? /The key was changed\.[^]*requests 5/ : /The key was changed\./);

      await type(page, "#path", "/reports");
      await submit(page, ".request button");
      assert.match(await text(page), /GET \/reports would be rejected with 403\.[^]*lacks the scope reports:read/);
      assert.equal((await fetch(`${base}/reports`, { headers: { "x-api-key": secret } })).status, 403);
      await type(page, "#path", "/invoices");
      await submit(page, ".request button");
      assert.match(await text(page), /GET \/invoices would be accepted\./);

      await follow(page, "Rotate");
      await page.select("#grace", "3600");
      await submit(page, "button.primary");
      const next = await page.$eval("#secret", (field) => field.value);
      assert.notEqual(next, secret);
      await stored(page);
      for (const valid of [secret, next]) {
        assert.equal((await fetch(`${base}/invoices`, { headers: { "x-api-key": valid } })).status, 200);
      }

      await submit(page, 'form[action$="/disable"] button');
      assert.match(await text(page), /The key is disabled/);
      await submit(page, 'form[action$="/enable"] button');
      assert.match(await text(page), /The key is enabled/);

      await follow(page, "Revoke");
      await page.type("#name", "another name");
      await submit(page, "button.danger");
      assert.match(await text(page), /that is not the name/);
      await page.type("#name", `${name}, changed`);
      await submit(page, "button.danger");
      assert.match(await text(page), /The key is revoked/);
      assert.equal((await fetch(`${base}/invoices`, { headers: { "x-api-key": next } })).status, 401);

      await follow(page, "Delete");
      await page.type("#name", `${name}, changed`);
      await submit(page, "button.danger");
      assert.match(await text(page), /The key was deleted/);
      assert.deepEqual(page.violations, []);
      await page.close();
    });
  }
}

test("staff find the key of a leaked text, and its page says so until the secret is replaced", async () => {
  const page = await person("staff");
  const secret = await make(page, "Leaked");
  await stored(page);
  await follow(page, "Keys");
  // Hidden from those who look on, and not as a password, which browsers offer to store.
  const field = await page.$eval("#text", (input) => [input.type, input.autocomplete, getComputedStyle(input).webkitTextSecurity]);
  assert.deepEqual(field, ["text", "off", "disc"]);
  await page.type("#text", secret);
  await page.type("#where", "a public repository");
  await submit(page, 'form[action$="/find"] button');
  assert.match(await text(page), /is or was a secret of this key/);
  assert.match(await text(page, "[role=alert]"), /found where others can read it[^]*a public repository/);
  assert.ok(!page.url().includes(secret));
  await submit(page, '[role=alert] a[href$="/rotate"]');
  await page.select("#grace", "0");
  await submit(page, "button.primary");
  await stored(page);
  assert.equal(await page.$("[role=alert]"), null);
  await page.close();
});

for (const javascript of [true, false]) {
  test(`several keys are revoked at once ${javascript ? "with" : "without"} JavaScript`, async () => {
    const page = await person("customer", { javascript });
    for (const name of ["Of several 1", "Of several 2"]) {
      await make(page, name);
      await stored(page);
      await follow(page, "Keys");
    }
    await page.goto(`${base}${home.customer}?name=Of%20several&state=active`);
    for (const box of await page.$$("tbody input[type=checkbox]")) await box.click();
    await submit(page, ".selected button:last-child");
    assert.match(await text(page), /Of several 2[^]*Of several 1|Of several 1[^]*Of several 2/);
    await submit(page, "button.danger");
    assert.match(await text(page), /The selected keys are revoked/);
    await page.goto(`${base}${home.customer}?name=Of%20several&state=active`);
    assert.match(await text(page), /No key matches/);
    assert.deepEqual(page.violations, []);
    await page.close();
  });
}

test("the line for curl asks for the secret, and works in bash", async () => {
  const page = await person("customer");
  const secret = await make(page, "For curl");
  const line = await page.$eval("#curl", (field) => field.value);
  assert.ok(!line.includes(secret));
  const call = (input) => execFileSync("bash", ["-c", line], { input: `${input}\n`, encoding: "utf8", stdio: ["pipe", "pipe", "ignore"] });
  assert.match(call(secret), /For curl: paid/);
  assert.doesNotMatch(call("acme_none"), /paid/);
  await stored(page);
  await page.close();
});

test("over HTTPS the cookie of the forms is one that no other host can set", async () => {
  for (const [origin, name] of [[await secure(), "__Host-api-keys-forms"], [base, "api-keys-forms"], [plain, "api-keys-forms"]]) {
    const page = await person("customer", { origin });
    const names = async () => (await page.cookies()).map((cookie) => cookie.name).filter((name) => name.includes("forms"));
    assert.deepEqual(await names(), [name], origin);
    assert.match(await make(page, "Of a form"), /^acme_/, origin);
    assert.deepEqual(await names(), [name], origin);
    await page.close();
  }
});

describe("a secret", () => {
  test("is nowhere but in the response that shows it", async () => {
    const page = await person("customer");
    const urls = [];
    page.on("framenavigated", (frame) => urls.push(frame.url()));
    const secret = await make(page, "Left behind?");
    const shown = page.url();
    await stored(page);
    const seen = async () => [
      await page.content(),
      await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, history.state, location.href])),
      JSON.stringify(await page.cookies()),
    ];
    const places = [...urls, ...(await seen())];
    for (const path of await pages(page, "customer", "Left behind?")) {
      await page.goto(`${base}${path}`);
      places.push(...(await seen()));
    }
    for (const place of places) assert.ok(!place.includes(secret));
    assert.ok(!shown.includes(secret));
    assert.ok(!fs.readFileSync(process.env.SERVER_LOG, "utf8").includes(secret));
    await page.close();
  });

  test("does not come back with the back button", async () => {
    const page = await person("customer");
    const secret = await make(page, "Back");
    await stored(page);
    await page.goBack().catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 300));
    const fields = await page.$$eval("input", (inputs) => inputs.map((input) => input.value).join());
    assert.ok(!fields.includes(secret) && !(await page.content()).includes(secret));
    await page.close();
  });

  test("is not made again by a reload", async () => {
    const page = await person("customer");
    const secret = await make(page, "Reloaded");
    page.on("dialog", (dialog) => dialog.accept());
    const response = await page.reload();
    assert.equal(response.status(), 409);
    assert.match(await text(page), /This form was sent before/);
    assert.ok(!(await page.content()).includes(secret));
    await page.goto(`${base}${home.customer}?name=Reloaded`);
    assert.equal((await page.$$("tbody tr")).length, 1);
    await page.close();
  });

  test("is not left without a question, until it is stored", async () => {
    const page = await person("customer");
    await make(page, "Guarded");
    const asked = [];
    page.on("dialog", (dialog) => {
      asked.push(dialog.type());
      return dialog.accept();
    });
    await page.click("#secret");
    await submit(page, "header a");
    assert.deepEqual(asked, ["beforeunload"]);
    await make(page, "Not guarded any more");
    await page.click("#secret");
    await stored(page);
    assert.deepEqual(asked, ["beforeunload"]);
    await page.close();
  });

  test("is focused and selected when it is shown", async () => {
    const page = await person("customer");
    const secret = await make(page, "Focused");
    assert.equal(await page.evaluate(() => getSelection().toString() || document.activeElement.value), secret);
    assert.equal(await page.evaluate(() => document.activeElement.id), "secret");
    await page.close();
  });
});

describe("copying", () => {
  const copied = async (page) => {
    await page.click('[data-copy="secret"]');
    await page.waitForFunction(() => document.getElementById("copied").textContent !== "");
    return text(page, "#copied");
  };

  test("says so when it is done", async () => {
    const page = await person("customer");
    await page.browserContext().overridePermissions(base, ["clipboard-read", "clipboard-write", "clipboard-sanitized-write"]);
    const secret = await make(page, "Copied");
    assert.equal(await copied(page), "Copied.");
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), secret);
    await page.close();
  });

  test("says so when it has failed, and leaves the text selected", async () => {
    const page = await person("customer");
    const secret = await make(page, "Not copied");
    await page.evaluate(() => {
      navigator.clipboard.writeText = () => Promise.reject(new Error("refused"));
      document.execCommand = () => false;
    });
    assert.match(await copied(page), /could not be copied/);
    assert.equal(await page.evaluate(() => getSelection().toString() || document.activeElement.value), secret);
    await page.close();
  });

  test("works over plain HTTP, and so does the form", async () => {
    const page = await person("customer", { origin: plain });
    assert.equal(await page.evaluate(() => isSecureContext), false);
    const secret = await make(page, "Plain");
    assert.match(secret, /^acme_/);
    assert.match(await copied(page), /^Copied\.|could not be copied/);
    await page.close();
  });
});

test("a form of another site changes nothing", async () => {
  const page = await person("customer");
  const path = (await pages(page, "customer", "Nightly"))[3];
  await page.goto(`${plain}/`);
  await page.evaluate((action) => {
    document.body.innerHTML = `<form method=post action="${action}"><input name=name value=x><button id=go></button></form>`;
  }, `${base}${path}/disable`);
  const response = await submit(page, "#go");
  assert.ok([403, 404].includes(response.status()), `${response.status()}`);
  await page.goto(`${base}${path}`);
  assert.match(await text(page, "h1"), /active/);
  await page.close();
});

describe("everyone can use it", () => {
  for (const who of ["staff", "customer"]) {
    for (const theme of ["light", "dark"]) {
      test(`${who}, ${theme}: axe finds no fault, no page breaks the policy, and none scrolls sideways at 320 pixels`, async () => {
        const page = await person(who, { theme });
        const check = async (where) => {
          await page.evaluate(axe);
          const found = await page.evaluate(() => window.axe.run({ resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
          const faults = found.violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
          assert.deepEqual(faults, [], where);
          await page.setViewport({ width: 320, height: 700 });
          const width = await page.evaluate(() => document.scrollingElement.scrollWidth);
          assert.ok(width <= 320, `${where} is ${width} wide`);
          await page.setViewport({ width: 1200, height: 900 });
        };
        await make(page, `For everyone, ${theme}`);
        await check("secret");
        await stored(page);
        await follow(page, "Keys");
        for (const path of await pages(page, who, "Production")) {
          await page.goto(`${base}${path}`);
          await check(path);
        }
        await page.goto(`${base}${home[who]}`);
        await page.click("tbody input[type=checkbox]");
        await submit(page, ".selected button");
        await check("selected");
        if (who === "staff") {
          await follow(page, "Keys");
          const secret = await make(page, `Leaked, ${theme}`);
          await stored(page);
          await follow(page, "Keys");
          await page.type("#text", secret);
          await page.type("#where", "https://code.example/a/long/path/to/a/file/of/settings/that/has/no/place/to/be/broken.toml");
          await submit(page, 'form[action$="/find"] button');
          await check("leaked");
        }
        await page.goto(`${base}${home[who]}/new`);
        await page.type("#name", " ");
        await submit(page, "button.primary");
        assert.match(await text(page), /check the marked fields/);
        await check("faults");
        assert.deepEqual(page.violations, []);
        await page.close();
      });
    }
  }

  test("with the keyboard alone, and always seeing where one is", async () => {
    const page = await person("customer");
    const press = async (key) => {
      await page.keyboard.press(key);
      const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
      if (key === "Tab") assert.notEqual(outline, "none", await page.evaluate(() => document.activeElement.outerHTML.slice(0, 200)));
    };
    const go = async (matches) => {
      for (let count = 0; count < 60; count += 1) {
        await press("Tab");
        if (await page.evaluate((source) => new RegExp(source).test(document.activeElement.outerHTML), matches)) return;
      }
      assert.fail(`${matches} is not reached`);
    };
    const enter = () => Promise.all([page.waitForNavigation(), page.keyboard.press("Enter")]);
    await press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
    await go(">New key<");
    await enter();
    await go('id="name"');
    await page.keyboard.type("By keyboard");
    await go('value="invoices:read"');
    await page.keyboard.press("Space");
    await go(">Create key<");
    await enter();
    assert.equal(await page.evaluate(() => document.activeElement.id), "secret");
    await go('id="stored"');
    await enter();
    assert.match(await text(page, "h1"), /By keyboard/);
    await go(">Revoke<");
    await enter();
    await go('id="name"');
    await page.keyboard.type("By keyboard");
    await enter();
    assert.match(await text(page), /The key is revoked/);
    await page.close();
  });

  test("a script that is not the page's own would be seen, and does not run", async () => {
    const page = await person("customer");
    await page.evaluate(() => {
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.head.append(script);
    });
    await new Promise((resolve) => setTimeout(resolve, 200));
    assert.equal(await page.evaluate(() => window.ran), undefined);
    assert.notDeepEqual(page.violations, []);
    await page.close();
  });
});
