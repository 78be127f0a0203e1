// Pictures of the pages, in both themes and on a narrow window: screenshots DIRECTORY.
"use strict";
const path = require("node:path");
const { close, person, submit, follow, make, type } = require("./browser.cjs");

const directory = process.argv[2];

async function main() {
  for (const [name, theme, width] of [["light", "light", 1200], ["dark", "dark", 1200], ["narrow", "light", 320]]) {
    for (const who of ["staff", "customer"]) {
      const page = await person(who, { theme, width });
      let number = 0;
      const shot = async (what) => {
        number += 1;
        const file = path.join(directory, `${name}-${who}-${number}-${what}.png`);
        await page.screenshot({ path: file, fullPage: what !== "list" });
      };
      await shot("list");
      await follow(page, "New key");
      await shot("new");
      await page.$eval("#name", (field) => field.removeAttribute("required"));
      await submit(page, "button.primary");
      await shot("new-faults");
      await page.goto(new URL(who === "staff" ? "/admin/keys" : "/settings/keys", page.url()));
      await make(page, `Picture in ${name}`);
      await shot("secret");
      await submit(page, "#stored");
      await follow(page, "Keys");
      await page.goto(`${page.url()}?name=Production&state=active`);
      await shot("filtered");
      const own = who === "staff" ? 'tr:has([data-label]:nth-child(2)) a' : "tbody a";
      await submit(page, own);
      await shot("key");
      await type(page, "#path", "/customers");
      await submit(page, ".request button");
      await shot("explained");
      await follow(page, "Rotate");
      await shot("rotate");
      await page.goBack();
      await follow(page, "Revoke");
      await type(page, "#name", "Something else");
      await submit(page, "button.danger");
      await shot("revoke");
      await submit(page, "header a");
      for (const box of (await page.$$("tbody input[type=checkbox]")).slice(0, 3)) await box.click();
      await shot("ticked");
      await submit(page, ".selected button:last-child");
      await shot("selected");
      if (who === "staff") {
        await submit(page, "header a");
        const secret = await make(page, `Leaked in ${name}`);
        await submit(page, "#stored");
        await submit(page, "header a");
        await page.type("#text", secret);
        await page.type("#where", "https://code.example/globex/settings/blob/main/production.toml");
        await shot("find");
        await submit(page, 'form[action$="/find"] button');
        await shot("leaked");
      }
      await page.close();
    }
  }
  await close();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
