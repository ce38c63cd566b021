import type { VNode } from "preact";
import { COMBINATIONS, press } from "./keys";
import type { Viewer } from "./viewer";

/** Keys that cannot be typed here. */
export function KeysPanel({ viewer, onDone }: { viewer: Viewer; onDone: () => void }): VNode {
  return (
    <>
      {COMBINATIONS.map(({ label, keys }) => (
        <button
          key={label}
          type="button"
          class="menu-item"
          onClick={() => {
            press(viewer, keys);
            onDone();
          }}
        >
          {label}
        </button>
      ))}
      <p class="panel-note">Ctrl + Alt + Shift on your keyboard brings up this bar; Esc goes back.</p>
    </>
  );
}
