import type { VNode } from "preact";

/** The desk of assets/logo.svg as part of the page, so that it follows the colours of the theme. */
export function Logo({ size = "small" }: { size?: "small" | "large" }): VNode {
  return (
    <svg class={`logo logo-${size}`} viewBox="0 0 64 64" aria-hidden="true" focusable="false">
      <path class="logo-top" d="M9 34V20A12 12 0 0 1 21 8h22a12 12 0 0 1 12 12v14z" />
      <path class="logo-slats" d="M18.5 12.5h27M14.5 16.5h35" />
      <path class="logo-inside" d="M13.5 34V20.5h37V34z" />
      <path class="logo-screen" d="M21.5 34v-8a2 2 0 0 1 2-2h17a2 2 0 0 1 2 2v8z" />
      <rect class="logo-board" x="4.5" y="33" width="55" height="6.5" rx="2.5" />
      <path class="logo-drawers" d="M8 39.5h16.5V54a3 3 0 0 1-3 3H11a3 3 0 0 1-3-3zM39.5 39.5H56V54a3 3 0 0 1-3 3H42.5a3 3 0 0 1-3-3z" />
      <path class="logo-slats" d="M8 48h16.5M39.5 48H56" />
    </svg>
  );
}
