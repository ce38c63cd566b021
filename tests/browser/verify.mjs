// What a person would try first, through a real browser: sign in, open a
// desktop, type into its terminal, log out. Usage: node verify.mjs PICTURE.png
import assert from "node:assert/strict";
import { launch } from "./lib/browser.mjs";
import { Cli } from "./lib/cli.mjs";
import { eventually } from "./lib/eventually.mjs";
import { Portal } from "./lib/portal.mjs";
import { system } from "./lib/system.mjs";

const picture = process.argv[2];
if (picture === undefined) throw new Error("usage: node verify.mjs PICTURE.png");

const POOL = "demo";
const browser = await launch();
const cli = await Cli.signedIn(system, system.user);
const portal = await Portal.open(browser, system.url);
try {
  await work();
} catch (error) {
  // What the person would have seen is the best explanation.
  await portal.page.screenshot({ path: picture });
  console.error(`The page at that moment: ${picture}`);
  throw error;
} finally {
  await browser.close();
  await cli.close();
}

async function work() {
  await portal.signIn(system.user);
  console.log("signed in");
  await portal.openDesktop(POOL);
  console.log("the desktop is drawn");

  await portal.screen.clickTerminal();
  await portal.screen.type("echo Rolltop works: $((6*7)) | tee ~/proof");
  const proof = await eventually("the command has written its file", () => cli.inDesktop(POOL, "cat ~/proof"));
  assert.equal(proof, "Rolltop works: 42\n");
  console.log("typed into the terminal; the desktop has the file");
  await portal.screen.settled();
  await portal.page.screenshot({ path: picture });

  await portal.screen.logOut();
  await portal.by("ended-message").waitFor();
  console.log(`logged out: ${await portal.by("ended-message").innerText()}`);
  await eventually("the desktop is gone", async () => !(await cli.desktopStates()).has(POOL));
  assert.deepEqual(portal.faults, [], "the page has thrown errors");
}
