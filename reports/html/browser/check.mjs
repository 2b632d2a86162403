// Opens a report.html in headless Chromium at desktop and phone width, light and dark, with scripts of
// the page switched off; saves screenshots, and fails on any axe-core violation, sideways scrolling of
// the page or request for something outside of it.
//
// usage: npm install && node check.mjs REPORT.html OUT_DIR    (CHROMIUM names the browser)
import axe from "axe-core";
import { mkdirSync } from "node:fs";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import puppeteer from "puppeteer-core";

const [report, out] = process.argv.slice(2);
if (!report || !out) {
  console.error("usage: node check.mjs REPORT.html OUT_DIR");
  process.exit(2);
}
mkdirSync(out, { recursive: true });
const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--no-sandbox"], // the page is our own, and containers lack the sandbox
});
const address = pathToFileURL(resolve(report)).href;
let bad = 0;
try {
  for (const [device, width, height] of [["desktop", 1280, 900], ["phone", 390, 844]]) {
    for (const scheme of ["light", "dark"]) {
      for (const opened of [false, true]) {
        const name = `${device}-${scheme}${opened ? "-open" : ""}`;
        const page = await browser.newPage();
        const requests = [];
        page.on("request", (request) => requests.push(request.url()));
        await page.setViewport({ width, height, deviceScaleFactor: 1 });
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
        await page.setJavaScriptEnabled(false);
        await page.goto(address);
        await page.setJavaScriptEnabled(true);
        if (opened) {
          await page.evaluate(() => document.querySelectorAll("details").forEach((d) => (d.open = true)));
        }
        await page.evaluate(axe.source);
        const result = await page.evaluate(() => window.axe.run());
        const sideways = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        // The browser takes no picture of a page of any length; opened, a report is very long.
        const long = await page.evaluate(() => document.documentElement.scrollHeight);
        const clip = { x: 0, y: 0, width, height: Math.min(long, 12000) };
        await page.screenshot({ path: `${out}/${name}.png`, clip, captureBeyondViewport: true });
        const foreign = requests.filter((url) => url !== address);
        console.log(`${name}: ${result.passes.length} rules passed, ${result.violations.length} violations, ` +
          `${result.incomplete.length} to be looked at, sideways ${sideways} px, ${foreign.length} other requests`);
        for (const violation of [...result.violations, ...result.incomplete]) {
          console.log(`  ${violation.id}: ${violation.help}`);
          violation.nodes.slice(0, 3).forEach((node) => console.log(`    ${node.html.slice(0, 160)}`));
        }
        bad += result.violations.length + (sideways > 0 ? 1 : 0) + foreign.length;
        await page.close();
      }
    }
  }
} finally {
  await browser.close();
}
process.exit(bad === 0 ? 0 : 1);
