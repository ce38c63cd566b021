import type { VNode } from "preact";
import { useRef, useState } from "preact/hooks";
import { Icon } from "../ui/icons";
import { KeyStrip } from "./key-strip";
import { press } from "./keys";
import { Keysym, keysymOf, typedBetween } from "./typing";
import type { Viewer } from "./viewer";

/** Something to take back with Backspace must always be in the box, or some keyboards say nothing. */
const FILLER = "_".repeat(32);

/** Keys that on-screen keyboards send as keys, not as text. */
const NAMED_KEYS = new Map<string, number>([
  ["Enter", Keysym.RETURN],
  ["Tab", Keysym.TAB],
  ["Escape", Keysym.ESCAPE],
  ["ArrowLeft", Keysym.LEFT],
  ["ArrowRight", Keysym.RIGHT],
  ["ArrowUp", Keysym.UP],
  ["ArrowDown", Keysym.DOWN],
]);

/** On touch devices: a button that brings up the device's own keyboard, with the keys it lacks. */
export function TouchKeyboard({ viewer }: { viewer: Viewer }): VNode {
  const box = useRef<HTMLTextAreaElement>(null);
  const sent = useRef(FILLER);
  const [up, setUp] = useState(false);
  /** Modifiers for the next key. */
  const [held, setHeld] = useState<readonly number[]>([]);

  const type = (keysym: number): void => {
    press(viewer, [...held, keysym]);
    if (held.length > 0) setHeld([]);
  };

  const reset = (): void => {
    if (box.current !== null) box.current.value = FILLER;
    sent.current = FILLER;
  };

  const onInput = (event: Event): void => {
    const now = box.current?.value ?? "";
    const { backspaces, text } = typedBetween(sent.current, now);
    for (let count = 0; count < backspaces; count += 1) type(Keysym.BACKSPACE);
    for (const character of text) type(keysymOf(character));
    sent.current = now;
    const composing = event instanceof InputEvent && event.isComposing;
    // A box that is rewritten while a word is composed confuses the keyboard.
    if (!composing && (now.length < FILLER.length / 2 || now.length > FILLER.length * 8)) reset();
  };

  const onKeyDown = (event: KeyboardEvent): void => {
    const keysym = NAMED_KEYS.get(event.key);
    if (keysym === undefined || event.isComposing) return;
    event.preventDefault();
    type(keysym);
  };

  return (
    <span class="touch-only">
      <textarea
        ref={box}
        class="touch-box"
        tabIndex={-1}
        aria-label="Type into the desktop"
        autocomplete="off"
        autocapitalize="off"
        autocorrect="off"
        spellcheck={false}
        onFocus={() => {
          reset();
          setUp(true);
        }}
        onBlur={() => {
          setUp(false);
          setHeld([]);
        }}
        onInput={onInput}
        onKeyDown={onKeyDown}
      />
      <button
        type="button"
        class="button button-quiet"
        title="Keyboard"
        aria-label="On-screen keyboard"
        aria-pressed={up}
        data-testid="toolbar-keyboard"
        // Keeps the focus where it is, so that a second tap can close the keyboard.
        onPointerDown={(event) => event.preventDefault()}
        onClick={() => {
          if (up) box.current?.blur();
          else box.current?.focus();
        }}
      >
        <Icon name="touchKeyboard" />
      </button>
      {up && (
        <KeyStrip
          held={held}
          onHold={(keysym) =>
            setHeld(held.includes(keysym) ? held.filter((key) => key !== keysym) : [...held, keysym])
          }
          onKey={type}
        />
      )}
    </span>
  );
}
