/** The first size to ask of a desktop's screen, in CSS pixels. */
export interface ScreenSize {
  readonly width: number;
  readonly height: number;
}

/** A phone held upright fits: its screen need not be made larger and resized at once. */
const SMALLEST: ScreenSize = { width: 320, height: 240 };
const LARGEST: ScreenSize = { width: 3840, height: 2160 };

/** The window's size, brought within what a desktop can sensibly start with. */
export function firstScreenSize(window: ScreenSize): ScreenSize {
  const clamp = (value: number, low: number, high: number): number =>
    Number.isFinite(value) ? Math.min(high, Math.max(low, Math.floor(value))) : low;
  return {
    width: clamp(window.width, SMALLEST.width, LARGEST.width),
    height: clamp(window.height, SMALLEST.height, LARGEST.height),
  };
}
