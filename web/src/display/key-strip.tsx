import type { VNode } from "preact";
import { MISSING_ON_PHONES, MODIFIERS } from "./keys";

interface KeyStripProps {
  held: readonly number[];
  onHold: (keysym: number) => void;
  onKey: (keysym: number) => void;
}

/** A row of keys above a phone's keyboard. It never takes the focus, or the keyboard would close. */
export function KeyStrip({ held, onHold, onKey }: KeyStripProps): VNode {
  return (
    <div
      class="key-strip"
      role="group"
      aria-label="More keys"
      onPointerDown={(event) => event.preventDefault()}
    >
      {MODIFIERS.map(({ label, keysym }) => (
        <button
          key={label}
          type="button"
          class="button button-small"
          aria-pressed={held.includes(keysym)}
          onClick={() => onHold(keysym)}
        >
          {label}
        </button>
      ))}
      {MISSING_ON_PHONES.map(({ label, name, keysym }) => (
        <button
          key={label}
          type="button"
          class="button button-small"
          aria-label={name}
          onClick={() => onKey(keysym)}
        >
          {label}
        </button>
      ))}
    </div>
  );
}
