import { Keysym } from "./typing";
import type { Viewer } from "./viewer";

/** Keys that a browser or its system keeps for itself, or that a phone has not. */
export const COMBINATIONS: readonly { readonly label: string; readonly keys: readonly number[] }[] = [
  { label: "Ctrl + Alt + Del", keys: [Keysym.CONTROL_LEFT, Keysym.ALT_LEFT, Keysym.DELETE] },
  { label: "Alt + Tab", keys: [Keysym.ALT_LEFT, Keysym.TAB] },
  { label: "Alt + F4", keys: [Keysym.ALT_LEFT, Keysym.F4] },
  { label: "Super", keys: [Keysym.SUPER_LEFT] },
  { label: "Esc", keys: [Keysym.ESCAPE] },
  { label: "Tab", keys: [Keysym.TAB] },
  { label: "Print Screen", keys: [Keysym.PRINT] },
];

/** Modifiers for the next key typed on a phone. */
export const MODIFIERS = [
  { label: "Ctrl", keysym: Keysym.CONTROL_LEFT },
  { label: "Alt", keysym: Keysym.ALT_LEFT },
] as const;

/** Keys that phones' own keyboards lack. */
export const MISSING_ON_PHONES = [
  { label: "Esc", name: "Escape", keysym: Keysym.ESCAPE },
  { label: "Tab", name: "Tab", keysym: Keysym.TAB },
  { label: "←", name: "Left", keysym: Keysym.LEFT },
  { label: "↑", name: "Up", keysym: Keysym.UP },
  { label: "↓", name: "Down", keysym: Keysym.DOWN },
  { label: "→", name: "Right", keysym: Keysym.RIGHT },
] as const;

/** Presses keys in order and lets them go in reverse. */
export function press(viewer: Pick<Viewer, "sendKey">, keys: readonly number[]): void {
  for (const key of keys) viewer.sendKey(key, true);
  for (const key of [...keys].reverse()) viewer.sendKey(key, false);
}

/** Lets go every modifier the desktop may think is down, when the page takes the keyboard away from it. */
export function releaseModifiers(viewer: Pick<Viewer, "sendKey">): void {
  for (const key of [
    Keysym.CONTROL_LEFT,
    Keysym.CONTROL_RIGHT,
    Keysym.ALT_LEFT,
    Keysym.ALT_RIGHT,
    Keysym.SHIFT_LEFT,
    Keysym.SHIFT_RIGHT,
    Keysym.SUPER_LEFT,
  ]) {
    viewer.sendKey(key, false);
  }
}
