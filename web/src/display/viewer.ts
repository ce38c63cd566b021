import RFB from "@novnc/novnc";
import { DISPLAY_BACKOFF, delayMs, wait } from "../model/backoff";
import { type ViewerState, keepShown } from "./keep-shown";

export interface ViewerOptions {
  /** The element to draw into. */
  readonly screen: HTMLElement;
  /** Gets the path of a WebSocket that is good for one connection. */
  readonly ticket: (signal: AbortSignal) => Promise<string>;
  readonly onState: (state: ViewerState) => void;
  readonly onClipboard: (text: string) => void;
}

/**
 * Shows a desktop and keeps it shown: over lost networks and restarted hosts,
 * until the session ends, another viewer takes over, or `close` is called.
 * Closing never ends the session.
 */
export class Viewer {
  readonly #options: ViewerOptions;
  readonly #stop = new AbortController();
  #pause = new AbortController();
  #rfb: RFB | undefined;

  constructor(options: ViewerOptions) {
    this.#options = options;
    const world = {
      ticket: options.ticket,
      onState: options.onState,
      show: this.#show.bind(this),
      pause: (attempt: number) => {
        this.#pause = new AbortController();
        return wait(delayMs(DISPLAY_BACKOFF, attempt, Math.random()), this.#pause.signal);
      },
    };
    void keepShown(world, this.#stop.signal);
  }

  /** Leaves the desktop as it is. */
  close(): void {
    this.#stop.abort();
    this.#pause.abort();
  }

  /** Ends a pause between two tries. */
  retryNow(): void {
    this.#pause.abort();
  }

  focus(): void {
    this.#rfb?.focus({ preventScroll: true });
  }

  blur(): void {
    this.#rfb?.blur();
  }

  /** Presses (`down`), releases, or both (left out) a key. */
  sendKey(keysym: number, down?: boolean): void {
    this.#rfb?.sendKey(keysym, null, down);
  }

  /** Gives the desktop's clipboard this text. */
  paste(text: string): void {
    this.#rfb?.clipboardPasteFrom(text);
  }

  /** Draws one connection until its socket closes. */
  #show(path: string, onConnected: () => void): Promise<CloseEvent> {
    const url = new URL(path, location.href);
    url.protocol = url.protocol === "http:" ? "ws:" : "wss:";
    const socket = new WebSocket(url, "binary");
    const rfb = new RFB(this.#options.screen, socket, { shared: true });
    rfb.background = "transparent";
    // Where the server cannot follow the window, the picture is scaled instead.
    rfb.scaleViewport = true;
    rfb.resizeSession = true;
    rfb.addEventListener("connect", () => {
      this.#rfb = rfb;
      onConnected();
      this.focus();
    });
    rfb.addEventListener("clipboard", ({ detail }) => this.#options.onClipboard(detail.text));
    return new Promise((resolve) => {
      const leave = (): void => rfb.disconnect();
      this.#stop.signal.addEventListener("abort", leave);
      // The socket itself is asked: noVNC does not pass on why it closed.
      socket.addEventListener("close", (event) => {
        this.#stop.signal.removeEventListener("abort", leave);
        this.#rfb = undefined;
        resolve(event);
      });
    });
  }
}
