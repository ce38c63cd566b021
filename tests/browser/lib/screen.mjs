import { eventually } from "./eventually.mjs";

/** Background of the terminal in the image `demo` (its Xresources). */
const TERMINAL = "#1f2430";

/** The desktop as it is drawn in the page. */
export class Screen {
  #page;

  constructor(page) {
    this.#page = page;
  }

  get canvas() {
    return this.#page.getByTestId("screen").locator("canvas");
  }

  /** Waits until the page has a connection and the terminal is drawn. */
  async shown() {
    await this.#page.locator('[data-testid="screen"][data-state="connected"]').waitFor();
    await eventually("the terminal is drawn", async () => (await this.share(TERMINAL)) > 0.1);
  }

  /** Size of the remote screen, in its own pixels. */
  async size() {
    return this.canvas.evaluate(({ width, height }) => ({ width, height }));
  }

  /** The share of the picture that has a colour, 0 to 1. */
  async share(colour) {
    return this.canvas.evaluate((canvas, wanted) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(wanted.slice(at, at + 2), 16));
      let found = 0;
      for (let i = 0; i < data.length; i += 4) {
        if (data[i] === red && data[i + 1] === green && data[i + 2] === blue) found += 1;
      }
      return found / (data.length / 4);
    }, colour);
  }

  /** A place in the terminal in page pixels: low enough for no panel of the page to be over it. */
  async terminal() {
    return this.canvas.evaluate((canvas, wanted) => {
      const { width, height } = canvas;
      const { data } = canvas.getContext("2d").getImageData(0, 0, width, height);
      const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(wanted.slice(at, at + 2), 16));
      const box = { left: width, right: 0, top: height, bottom: 0 };
      for (let y = 0; y < height; y += 2) {
        for (let x = 0; x < width; x += 2) {
          const i = 4 * (y * width + x);
          if (data[i] !== red || data[i + 1] !== green || data[i + 2] !== blue) continue;
          box.left = Math.min(box.left, x);
          box.right = Math.max(box.right, x);
          box.top = Math.min(box.top, y);
          box.bottom = Math.max(box.bottom, y);
        }
      }
      const shown = canvas.getBoundingClientRect();
      const scale = shown.width / width;
      return {
        x: shown.left + (scale * (box.left + box.right)) / 2,
        y: shown.top + scale * (box.top + 0.75 * (box.bottom - box.top)),
      };
    }, TERMINAL);
  }

  /** Clicks into the terminal, so that it has the keyboard. */
  async clickTerminal() {
    const { x, y } = await this.terminal();
    await this.#page.mouse.click(x, y);
  }

  /** As a finger does it. */
  async tapTerminal() {
    const { x, y } = await this.terminal();
    await this.#page.touchscreen.tap(x, y);
    await this.settled();
  }

  /** Selects the word at that place of the terminal, which copies it. */
  async selectWord() {
    const { x, y } = await this.terminal();
    await this.#page.mouse.dblclick(x, y);
  }

  /** Types a line, as a person would: key by key. */
  async type(line) {
    await this.#page.keyboard.type(line, { delay: 5 });
    await this.#page.keyboard.press("Enter");
  }

  /** Waits until nothing has changed in the picture for a while. */
  async settled(quietMs = 250) {
    let last = "";
    let since = Date.now();
    await eventually("the picture is still", async () => {
      const now = await this.canvas.evaluate((canvas) => canvas.toDataURL("image/png"));
      if (now !== last) since = Date.now();
      last = now;
      return Date.now() - since >= quietMs;
    });
  }

  /** Logs out by the button in the panel and the entry of the menu it opens. */
  async logOut() {
    const shown = await this.canvas.boundingBox();
    const { height } = await this.size();
    const scale = shown.height / height;
    const right = shown.x + shown.width - 40 * scale;
    const bottom = shown.y + shown.height;
    await this.#page.mouse.click(right, bottom - 18 * scale);
    await this.settled();
    await this.#page.mouse.click(right, bottom - 54 * scale);
  }
}
