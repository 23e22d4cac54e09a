// Debian's Chromium, driven by `playwright-core`; run by tests/support/browser.py.
//
// The one argument is a JSON file: `modules` (the folder that holds node_modules), `chromium` (the
// program), `spki` (what is pinned: see below), `root` (whether we are root). When Chromium runs it
// prints a line {"version": "..."}. Each line on standard input is a command, answered by one line:
// {} or what is said below, or {"error": "..."}.
//   {"open": [width, height, phone]}  a window without cookies; the one before is closed. On a
//                                 telephone (phone: true), dark as people like them
//   {"goto": url}
//   {"fill": {selector: text}}
//   {"click": selector}           and wait until the page that follows has loaded
//   {"wait": selector}            until it is there
//   {"read": true}                {"url", "title", "text", "width"}: `width`, that the page takes
//   {"shot": path}                a picture of what the window shows
//   {"asked": true}               {"urls": [...]}: all that this window asked the net for
// It ends, and Chromium with it, when its standard input does.
//
// The certificate of the tests' provider is none that Chromium trusts. Its key alone is excepted, by
// its SHA-256 hash, and no other host can be asked: names other than the loopback's do not resolve.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const settings = JSON.parse(readFileSync(process.argv[2], 'utf8'));
const { chromium } = createRequire(`${settings.modules}/`)('playwright-core');

const SECONDS = 15000;
const browser = await chromium.launch({
  executablePath: settings.chromium,
  headless: true,
  timeout: 2 * SECONDS,
  chromiumSandbox: !settings.root,
  args: [
    `--ignore-certificate-errors-spki-list=${settings.spki}`,
    '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1, EXCLUDE [::1]',
    '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync',
  ],
});
console.log(JSON.stringify({ version: browser.version() }));

let context;
let page;
let urls = [];

const commands = {
  async open([width, height, phone]) {
    await context?.close();
    context = await browser.newContext({
      viewport: { width, height },
      acceptDownloads: false,
      isMobile: phone,
      hasTouch: phone,
      colorScheme: phone ? 'dark' : 'light',
    });
    context.setDefaultTimeout(SECONDS);
    urls = [];
    context.on('request', (request) => urls.push(request.url()));
    page = await context.newPage();
  },
  async goto(url) {
    await page.goto(url);
  },
  async fill(fields) {
    for (const [selector, text] of Object.entries(fields)) await page.fill(selector, text);
  },
  async click(selector) {
    const loaded = page.waitForEvent('load');
    await Promise.all([loaded, page.click(selector)]);
  },
  async wait(selector) {
    await page.waitForSelector(selector);
  },
  async read() {
    const [text, width] = await page.evaluate(() => [
      document.body.innerText,
      document.documentElement.scrollWidth,
    ]);
    return { url: page.url(), title: await page.title(), text, width };
  },
  async shot(path) {
    await page.screenshot({ path });
  },
  async asked() {
    return { urls };
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [[name, value]] = Object.entries(JSON.parse(line));
  try {
    console.log(JSON.stringify(await commands[name](value) ?? {}));
  } catch (error) {
    console.log(JSON.stringify({ error: `${name}: ${error.message}`, url: page?.url() }));
  }
}
await browser.close();
