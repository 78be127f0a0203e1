// A browser with a person in it, for the tests and the screenshots.
"use strict";
const { execFileSync } = require("node:child_process");
const http = require("node:http");
const https = require("node:https");
const puppeteer = require("puppeteer-core");

const base = process.env.BASE_URL;
// The same server, under a name that is no secure context: without the Clipboard API and Fetch metadata.
const plain = base.replace("127.0.0.1", "keys.example");

let launched, proxy;

/** The same server behind HTTPS, with a certificate that nobody has signed. */
async function secure() {
  if (!proxy) {
    const pem = execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=keys.example", "-keyout", "-", "-out", "-"], { stdio: ["ignore", "pipe", "ignore"] });
    proxy = https.createServer({ key: pem, cert: pem }, (request, response) => {
      const { method, url: path, headers } = request;
      const { hostname, port } = new URL(base);
      const passed = http.request({ hostname, port, method, path, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
      });
      request.pipe(passed);
    });
    await new Promise((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  }
  return `https://keys.example:${proxy.address().port}`;
}

async function browser() {
  launched ??= await puppeteer.launch({
    executablePath: "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--ignore-certificate-errors", "--host-resolver-rules=MAP keys.example 127.0.0.1"],
  });
  return launched;
}

async function close() {
  await (await browser()).close();
  proxy?.close();
}

/** A page on which `who` (staff or customer) has signed in, in a session of its own. What breaks the policy is collected. */
async function person(who, { javascript = true, theme = "light", width = 1200, origin = base } = {}) {
  const context = await (await browser()).createBrowserContext();
  const page = await context.newPage();
  page.setDefaultTimeout(10_000);
  page.violations = [];
  await page.exposeFunction("reportViolation", (text) => page.violations.push(text));
  await page.evaluateOnNewDocument(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      window.reportViolation(`${event.violatedDirective} ${event.blockedURI}`),
    );
  });
  page.on("console", (message) => {
    if (/Content Security Policy/.test(message.text())) page.violations.push(message.text());
  });
  page.on("pageerror", (error) => page.violations.push(String(error)));
  await page.setJavaScriptEnabled(javascript);
  await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: theme }]);
  await page.setViewport({ width, height: 900 });
  await page.goto(`${origin}/`);
  await submit(page, `form[action="/sign-in/${who}"] button`);
  return page;
}

/** Presses what leads to another page. */
async function submit(page, selector) {
  const [response] = await Promise.all([page.waitForNavigation(), page.click(selector)]);
  return response;
}

/** Follows the link with this text. */
async function follow(page, text) {
  return submit(page, `a::-p-text(${text})`);
}

async function text(page, selector = "main") {
  return page.$eval(selector, (element) => element.textContent);
}

/** Types a text in place of what is there. */
async function type(page, selector, value) {
  await page.click(selector, { count: 3 });
  await page.keyboard.press("Backspace");
  await page.type(selector, value);
}

/** Makes a key, and returns its secret. */
async function make(page, name) {
  await follow(page, "New key");
  await type(page, "#name", name);
  await page.click('input[value="invoices:read"]');
  if (await page.$("#organization")) await page.type("#organization", "globex");
  await submit(page, "button.primary");
  return page.$eval("#secret", (field) => field.value);
}

module.exports = { base, plain, secure, browser, close, person, submit, follow, text, type, make };
