/** The part of the Keyboard Lock API used here; only some browsers have it. */
interface KeyboardLock {
  lock(): Promise<void>;
  unlock(): void;
}

const keyboardLock = (navigator as Navigator & { keyboard?: KeyboardLock }).keyboard;

/** Phones of some makers cannot show a page in full screen. */
export const canFullscreen = document.fullscreenEnabled === true;

/**
 * Enters or leaves full screen. In full screen the desktop gets even the keys
 * that the browser's system would take, such as Alt+Tab, where that is possible.
 */
export async function toggleFullscreen(): Promise<void> {
  try {
    if (document.fullscreenElement !== null) {
      keyboardLock?.unlock();
      await document.exitFullscreen();
      return;
    }
    await document.documentElement.requestFullscreen({ navigationUI: "hide" });
    await keyboardLock?.lock();
  } catch {
    // Refused by the browser or its owner's policy; the page works without.
  }
}

/** Calls back at each change; gives the way to stop it. */
export function onFullscreenChange(listener: (full: boolean) => void): () => void {
  const tell = (): void => listener(document.fullscreenElement !== null);
  document.addEventListener("fullscreenchange", tell);
  return () => document.removeEventListener("fullscreenchange", tell);
}
