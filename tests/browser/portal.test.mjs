// The portal and desktops in it, as people use them. Runs against the system
// that `deploy/quickstart -- node --test tests/browser/` starts.
import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { after, afterEach, before, describe, it } from "node:test";
import { launch } from "./lib/browser.mjs";
import { Cli } from "./lib/cli.mjs";
import { eventually } from "./lib/eventually.mjs";
import { addImage, removeImage } from "./lib/images.mjs";
import { Portal } from "./lib/portal.mjs";
import { system } from "./lib/system.mjs";

const PHASES = ["placement", "disk", "network", "container", "session", "display"];
const PICTURES = process.env.ROLLTOP_PICTURES ?? "";

describe("the portal", { timeout: 300_000 }, () => {
  let browser;
  let cli;
  let operator;
  const windows = [];

  before(async () => {
    browser = await launch();
    cli = await Cli.signedIn(system, system.user);
    operator = await Cli.signedIn(system, system.operator);
  });

  after(async () => {
    await browser?.close();
    await cli?.close();
    await operator?.close();
  });

  // Each test begins without windows and without desktops.
  afterEach(async ({ name }) => {
    const faults = windows.flatMap((portal) => [...portal.faults, ...portal.unanswered]);
    for (const [index, portal] of windows.entries()) {
      await picture(portal, `${name}-${index + 1}`);
      await portal.close();
    }
    windows.length = 0;
    await cli.stopAll();
    assert.deepEqual(faults, [], "a page has thrown errors, or has got no answer");
  });

  /** A browser window of its own, with the sign-in page. */
  async function openWindow(options) {
    const portal = await Portal.open(browser, system.url, options);
    windows.push(portal);
    return portal;
  }

  async function signedIn(options) {
    const portal = await openWindow(options);
    await portal.signIn(system.user);
    await portal.by("pool-demo-open").waitFor();
    return portal;
  }

  async function atDesktop(pool, options) {
    const portal = await signedIn(options);
    await portal.openDesktop(pool);
    return portal;
  }

  /** Content of a file in the desktop, once it is there and not empty. */
  function fileIn(pool, path) {
    return eventually(`${path} is written`, () => cli.inDesktop(pool, `cat ${path}`));
  }

  it("refuses a wrong password in words, and stays at the sign-in page", async () => {
    const portal = await openWindow();
    await portal.signIn({ name: system.user.name, password: "not the password" });
    assert.match(await portal.by("error-message").innerText(), /password is not right/);
    await portal.signIn(system.user);
    await portal.by("pool-demo-open").waitFor();
    await portal.signOut();
  });

  it("shows each phase of an opening, and then the desktop", async () => {
    const portal = await signedIn();
    await portal.openDesktop("demo");
    const seen = await portal.phasesSeen();
    for (const phase of PHASES) assert.ok(seen.includes(`${phase} done`), `${phase} in ${seen}`);
    assert.ok(seen.some((state) => state.endsWith(" running")), `one under way in ${seen}`);
    await portal.home();
    await portal.by("desktop-demo-open").waitFor();
  });

  it("types into the desktop, shifted characters and all", async () => {
    const portal = await atDesktop("demo");
    await portal.screen.clickTerminal();
    const text = "Quick: {brown} [fox] ~!@#%^&*()_+|<>?/.,;\"`=-";
    await portal.screen.type(`cat >~/typed <<'X'`);
    await portal.screen.type(text);
    await portal.screen.type("X");
    assert.equal(await fileIn("demo", "~/typed"), `${text}\n`);
  });

  it("gives the desktop the size of the window, again and again", async () => {
    const portal = await atDesktop("demo");
    for (const wanted of [{ width: 1000, height: 640 }, { width: 1440, height: 900 }]) {
      await portal.page.setViewportSize(wanted);
      await eventually("the screen follows", async () => {
        const { width, height } = await portal.screen.size();
        return width === wanted.width && height === wanted.height;
      });
      const said = await cli.inDesktop(
        "demo",
        "DISPLAY=:1 XAUTHORITY=/run/user/$(id -u)/Xauthority xrandr --current",
      );
      assert.match(said, new RegExp(`current ${wanted.width} x ${wanted.height}\\b`));
    }
  });

  it("hands text from the page to the desktop's clipboard", async () => {
    const portal = await atDesktop("demo");
    // The text ends its own line: when it arrives is the desktop's affair.
    const text = "from the page: ünïcode €\n";
    await portal.openClipboard();
    await portal.by("clipboard-text").fill(text);
    await portal.by("clipboard-send").click();
    await portal.screen.clickTerminal();
    await portal.screen.type("cat >~/pasted");
    await portal.page.keyboard.press("Control+Shift+V");
    assert.equal(await fileIn("demo", "~/pasted"), text);
  });

  it("hands text that is copied in the desktop to the page", async () => {
    const portal = await atDesktop("demo");
    await portal.screen.clickTerminal();
    // A long word in every line, so that a double click is sure to hit it.
    const word = "copiedinthedesktop".repeat(4);
    await portal.screen.type(`yes ${word} | head -n 40; touch ~/filled`);
    await eventually("the terminal is filled", () => cli.inDesktop("demo", "ls ~/filled"));
    await portal.screen.settled();
    await portal.screen.selectWord();
    await portal.openClipboard();
    await eventually("the page has it", async () =>
      (await portal.by("clipboard-text").inputValue()) === word);
  });

  it("keeps the session when the tab closes, for any other browser", async () => {
    const first = await atDesktop("demo");
    await first.screen.clickTerminal();
    await first.screen.type("echo still here >~/kept; sleep 12345");
    await fileIn("demo", "~/kept");
    const before = await cli.inDesktop("demo", "pgrep -x sleep; pgrep -x xterm; pgrep -x Xvnc");
    await first.close();
    windows.length = 0;

    const second = await atDesktop("demo");
    const seen = await second.phasesSeen();
    assert.ok(!seen.some((state) => state.endsWith(" done")), `it was there already: nothing to do in ${seen}`);
    const afterwards = await cli.inDesktop("demo", "pgrep -x sleep; pgrep -x xterm; pgrep -x Xvnc");
    assert.equal(afterwards, before);
    // The same window takes the keys.
    await second.screen.clickTerminal();
    await second.page.keyboard.press("Control+c");
    await eventually("Ctrl-C reaches the program", async () =>
      (await cli.inDesktop("demo", "pgrep -x sleep || echo none")) === "none\n");
  });

  it("gives the desktop to the second viewer, tells the first, and back", async () => {
    const first = await atDesktop("demo");
    const second = await atDesktop("demo");
    await first.by("taken-over-message").waitFor();
    await first.by("use-here").click();
    await first.screen.shown();
    await second.by("taken-over-message").waitFor();
  });

  it("says so when the user has logged out in the desktop", async () => {
    const portal = await atDesktop("demo");
    await portal.screen.logOut();
    await portal.by("ended-message").waitFor();
    assert.match(await portal.by("ended-message").innerText(), /logged out/);
    await eventually("it is gone", async () => !(await cli.desktopStates()).has("demo"));
  });

  it("ends a desktop from the home page", async () => {
    const portal = await atDesktop("demo");
    await portal.home();
    await portal.by("desktop-demo-end").click();
    await portal.by("confirm-accept").click();
    await portal.by("desktop-demo-end").waitFor({ state: "detached" });
    assert.ok(!(await cli.desktopStates()).has("demo"));
  });

  it("keeps the files of demo-keep over a logout, and none of demo", async () => {
    for (const [pool, expected] of [["demo-keep", "kept"], ["demo", "fresh"]]) {
      const portal = await atDesktop(pool);
      await portal.screen.clickTerminal();
      await portal.screen.type("echo mine >~/mine");
      await fileIn(pool, "~/mine");
      await portal.screen.logOut();
      await portal.by("start-again").click();
      await portal.screen.shown();
      const found = await cli.inDesktop(pool, "cat ~/mine 2>/dev/null && echo kept || echo fresh");
      assert.equal(found.trim().split("\n").at(-1), expected, pool);
    }
  });

  it("works on a phone: nothing is cut off, and its keyboard types", async () => {
    const portal = await signedIn({ viewport: { width: 390, height: 760 }, isMobile: true, hasTouch: true });
    const overflow = () => document.scrollingElement.scrollWidth - window.innerWidth;
    assert.ok((await portal.page.evaluate(overflow)) <= 0, "the home page is wider than the phone");
    await portal.by("pool-demo-open").tap();
    await portal.screen.shown();
    await portal.screen.tapTerminal();
    await portal.bringUpKeyboard();
    await portal.page.keyboard.insertText("echo phone >~/phone");
    await portal.page.keyboard.press("Enter");
    assert.equal(await fileIn("demo", "~/phone"), "phone\n");
    assert.ok((await portal.page.evaluate(overflow)) <= 0, "the desktop's page is wider than the phone");
  });

  it("tells why a session did not start, with its last words", async () => {
    const script = "echo 'no colours left' >&2; exit 3";
    await addImage(system.images, "broken", ["/bin/sh", "-c", script]);
    await operator.run(["pool", "set", "broken", "--image", "broken:stable", "--disk", "256MiB"]);
    try {
      const portal = await signedIn();
      await portal.by("pool-broken-open").click();
      await portal.by("error-message").waitFor();
      const message = await portal.by("error-message").innerText();
      assert.match(message, /session.*ended|ended.*session/i);
      assert.match(await portal.by("failure-output").innerText(), /no colours left/);
      await portal.by("try-again").waitFor();
    } finally {
      await operator.run(["pool", "delete", "broken"]);
      await removeImage(system.images, "broken");
    }
  });

  /** What the window showed last, for people who look into the results. */
  async function picture(portal, name) {
    if (PICTURES === "") return;
    await mkdir(PICTURES, { recursive: true });
    await portal.page.screenshot({ path: `${PICTURES}/${name.replaceAll(/\W+/g, "-")}.png` });
  }
});
