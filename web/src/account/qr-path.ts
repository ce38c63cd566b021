import { encode } from "uqr";

/** Light squares around it, which scanners want. */
const QUIET = 4;

export interface Squares {
  /** Along one side, the quiet zone included. */
  readonly size: number;
  readonly dark: (x: number, y: number) => boolean;
  /** The dark ones as an SVG path, a run of them at a time. */
  readonly path: string;
}

/** A text as the squares of a QR code. */
export function squares(text: string): Squares {
  const { size, data } = encode(text, { border: QUIET, ecc: "M" });
  const dark = (x: number, y: number): boolean => data[y]?.[x] ?? false;
  const runs: string[] = [];
  for (let y = 0; y < size; y += 1) {
    for (let x = 0; x < size; x += 1) {
      const start = x;
      while (x < size && dark(x, y)) x += 1;
      if (x > start) runs.push(`M${start} ${y}h${x - start}v1h-${x - start}z`);
    }
  }
  return { size, dark, path: runs.join("") };
}
