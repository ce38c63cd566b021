/**
 * Keeps the browser's clipboard and the desktop's the same, as far as the
 * browser lets the page. Where it does not, the clipboard panel remains.
 */
export class ClipboardSync {
  readonly #toDesktop: (text: string) => void;
  #last = "";

  constructor(toDesktop: (text: string) => void) {
    this.#toDesktop = toDesktop;
  }

  /** The desktop's clipboard changed. */
  async fromDesktop(text: string): Promise<void> {
    this.#last = text;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // Not allowed without a click in some browsers; the panel shows the text.
    }
  }

  /** The person came back to the page, perhaps with something new to paste. */
  async pull(): Promise<void> {
    if ((await readPermission()) !== "granted") return;
    await this.read();
  }

  /** Reads the browser's clipboard, which may ask the person. False: refused. */
  async read(): Promise<boolean> {
    try {
      const text = await navigator.clipboard.readText();
      if (text !== "" && text !== this.#last) this.send(text);
      return true;
    } catch {
      return false;
    }
  }

  /** Gives the desktop a text. */
  send(text: string): void {
    this.#last = text;
    this.#toDesktop(text);
  }
}

/** Whether the page may read the clipboard; "unsupported" where browsers do not say. */
export async function readPermission(): Promise<PermissionState | "unsupported"> {
  try {
    // The name is not in TypeScript's list, as not all browsers have it.
    const name = "clipboard-read" as PermissionName;
    return (await navigator.permissions.query({ name })).state;
  } catch {
    return "unsupported";
  }
}
