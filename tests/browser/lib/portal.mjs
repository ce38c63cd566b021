import { eventually } from "./eventually.mjs";
import { Screen } from "./screen.mjs";

/** The portal in one browser window, by the test ids of the page. */
export class Portal {
  /** What the page itself complained of. */
  faults = [];
  /** Requests that got no answer, and why; those the page gave up itself aside. */
  unanswered = [];
  #url;

  /** A window of its own: cookies and all. */
  static async open(browser, url, options = {}) {
    const context = await browser.newContext({
      ignoreHTTPSErrors: true,
      viewport: { width: 1280, height: 800 },
      ...options,
    });
    const page = await context.newPage();
    // Phases may pass faster than anybody can look: the page takes notes.
    await page.addInitScript(notePhases);
    const portal = new Portal(page, url);
    await page.goto(url);
    return portal;
  }

  constructor(page, url) {
    this.page = page;
    this.screen = new Screen(page);
    this.#url = url;
    page.on("pageerror", (error) => this.faults.push(error.message));
    page.on("requestfailed", (request) => {
      const { errorText } = request.failure();
      if (errorText !== "net::ERR_ABORTED") this.unanswered.push(`${request.url()}: ${errorText}`);
    });
  }

  /** An element by its test id. */
  by(testId) {
    return this.page.getByTestId(testId);
  }

  async signIn({ name, password }) {
    await this.by("sign-in-name").fill(name);
    await this.by("sign-in-password").fill(password);
    await this.by("sign-in-submit").click();
  }

  async signOut() {
    await this.by("user-menu").click();
    await this.by("sign-out").click();
    await this.by("sign-in-name").waitFor();
  }

  async home() {
    await this.page.goto(`${this.#url}/#/`);
  }

  /** Opens the desktop of a pool from the home page, and waits for its picture. */
  async openDesktop(pool) {
    await this.by(`pool-${pool}-open`).click();
    await this.screen.shown();
  }

  /** Opens the clipboard panel; a click elsewhere closes it. */
  async openClipboard() {
    // The bar may have rolled up by itself: the pointer at the edge brings it back.
    await this.page.mouse.move(this.page.viewportSize().width / 2, 1);
    await this.by("toolbar-clipboard").click();
    await this.by("clipboard-text").waitFor();
  }

  /** On a phone: taps the button for the device's keyboard, wherever the bar is. */
  async bringUpKeyboard() {
    const handle = this.page.getByLabel("Show the toolbar");
    await eventually("the button for the keyboard is tapped", async () => {
      if ((await handle.getAttribute("aria-expanded")) === "false") await handle.tap({ timeout: 1_000 });
      await this.by("toolbar-keyboard").tap({ timeout: 1_000 });
      return true;
    });
  }

  /** Each "phase state" that the page has shown, in order. */
  phasesSeen() {
    return this.page.evaluate(() => window.phasesSeen);
  }

  /** Closes the window, as a person closes a tab. */
  async close() {
    await this.page.context().close();
  }
}

/** Runs in the page: notes each state that a phase of an opening is shown in. */
function notePhases() {
  window.phasesSeen = [];
  const note = () => {
    for (const row of document.querySelectorAll('[data-testid^="progress-"]')) {
      const seen = `${row.dataset.testid.replace("progress-", "")} ${row.dataset.state}`;
      if (!window.phasesSeen.includes(seen)) window.phasesSeen.push(seen);
    }
  };
  new MutationObserver(note).observe(document, { subtree: true, childList: true, attributes: true });
}
