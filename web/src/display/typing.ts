// What an on-screen keyboard writes into a text box, as keys for the desktop.

/** Keys to send so that what was typed there becomes what is typed here. */
export interface Typed {
  /** How many characters to take back. */
  readonly backspaces: number;
  /** What to type then. */
  readonly text: string;
}

/**
 * The difference between two states of the box. On-screen keyboards compose,
 * correct and swipe whole words; the box is the one thing all of them agree on.
 */
export function typedBetween(before: string, after: string): Typed {
  const [old, now] = [Array.from(before), Array.from(after)];
  let same = 0;
  while (same < old.length && same < now.length && old[same] === now[same]) same += 1;
  return { backspaces: old.length - same, text: now.slice(same).join("") };
}

/** The X keysym of a character: Latin-1 as it is, the rest of Unicode with its own mark. */
export function keysymOf(character: string): number {
  const code = character.codePointAt(0) ?? 0;
  if (code === 0x0a || code === 0x0d) return Keysym.RETURN;
  if (code === 0x09) return Keysym.TAB;
  return code < 0x100 ? code : 0x0100_0000 | code;
}

/** The keysyms this page sends by name (X11's keysymdef.h). */
export const Keysym = {
  BACKSPACE: 0xff08,
  TAB: 0xff09,
  RETURN: 0xff0d,
  ESCAPE: 0xff1b,
  LEFT: 0xff51,
  UP: 0xff52,
  RIGHT: 0xff53,
  DOWN: 0xff54,
  PRINT: 0xff61,
  F4: 0xffc1,
  SHIFT_LEFT: 0xffe1,
  CONTROL_LEFT: 0xffe3,
  CONTROL_RIGHT: 0xffe4,
  SHIFT_RIGHT: 0xffe2,
  ALT_LEFT: 0xffe9,
  ALT_RIGHT: 0xffea,
  SUPER_LEFT: 0xffeb,
  DELETE: 0xffff,
} as const;
