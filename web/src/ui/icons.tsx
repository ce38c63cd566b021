import type { VNode } from "preact";

/** Line icons on a 24-unit grid, drawn for this page. They only repeat what a label says. */
const PATHS = {
  home: "M4 11.5 12 5l8 6.5M6.5 10v9h11v-9M10 19v-5h4v5",
  clipboard: "M9 5H6.5v15h11V5H15M9 3.5h6v3H9zM9 11.5h6M9 15.5h4",
  keys: "M4 4.5h7v7H4zM13 4.5h7v7h-7zM4 13.5h16v6H4z",
  touchKeyboard: "M3.5 5h17v9.5h-17zM7 8h.01M10.3 8h.01M13.7 8h.01M17 8h.01M8.5 11.3h7M9.5 18l2.5 2.5 2.5-2.5",
  fullscreen: "M4.5 9V4.5H9M15 4.5h4.5V9M19.5 15v4.5H15M9 19.5H4.5V15",
  window: "M9 4.5V9H4.5M19.5 9H15V4.5M15 19.5V15h4.5M4.5 15H9v4.5",
  power: "M12 4v8M7.3 7a7 7 0 1 0 9.4 0",
  user: "M12 12a3.7 3.7 0 1 0 0-7.4 3.7 3.7 0 0 0 0 7.4zM5 19.5c.8-3.4 3.5-5 7-5s6.2 1.6 7 5",
  check: "m5.5 12.5 4.3 4.3 8.7-9.3",
  cross: "m7 7 10 10M17 7 7 17",
  open: "M5 12h13M13 6.5l5.5 5.5-5.5 5.5",
  warning: "M12 4.5 3.5 19h17zM12 10v4M12 16.7v.01",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }): VNode {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
