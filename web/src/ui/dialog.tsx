import type { ComponentChildren, VNode } from "preact";
import { useId, useLayoutEffect, useRef, useState } from "preact/hooks";

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}

/** What had the focus before the first dialog came: it gets it back after the last one, since one may follow another. */
let opener: HTMLElement | undefined;

function rememberOpener(): void {
  const { activeElement } = document;
  const outside = activeElement instanceof HTMLElement && activeElement !== document.body && activeElement.closest("dialog") === null;
  if (outside) opener = activeElement;
}

function giveFocusBack(): void {
  if (document.querySelector("dialog[open]") !== null) return;
  if (opener?.isConnected) opener.focus();
  opener = undefined;
}

/** A modal dialog: the browser keeps the focus inside and Escape closes it. */
export function Dialog({ title, onClose, children }: DialogProps): VNode {
  const dialog = useRef<HTMLDialogElement>(null);
  const titleId = useId();
  useLayoutEffect(() => {
    const element = dialog.current;
    rememberOpener();
    element?.showModal();
    return () => {
      element?.close();
      // Not before this one is gone, and the next one is there.
      setTimeout(giveFocusBack);
    };
  }, []);
  return (
    <dialog
      ref={dialog}
      class="dialog"
      aria-labelledby={titleId}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
    >
      <h2 id={titleId}>{title}</h2>
      {children}
    </dialog>
  );
}

interface ConfirmProps {
  title: string;
  text: string;
  action: string;
  onConfirm: () => void;
  onClose: () => void;
}

/** Asks before something that cannot be taken back. */
export function Confirm({ title, text, action, onConfirm, onClose }: ConfirmProps): VNode {
  return (
    <Dialog title={title} onClose={onClose}>
      <p>{text}</p>
      <div class="actions actions-end">
        <button type="button" class="button" data-testid="confirm-cancel" onClick={onClose}>
          Cancel
        </button>
        <button type="button" class="button button-danger" data-testid="confirm-accept" onClick={onConfirm}>
          {action}
        </button>
      </div>
    </Dialog>
  );
}

/** As `Confirm`, for what loses people's work: the name of what is lost has to be typed. */
export function TypedConfirm({ title, text, word, action, onConfirm, onClose }: ConfirmProps & { word: string }): VNode {
  const [typed, setTyped] = useState("");
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    if (typed.trim() === word) onConfirm();
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit}>
        <p>{text}</p>
        <label class="field">
          <span>Type {word} to go on</span>
          <input
            value={typed}
            autocapitalize="none"
            autocomplete="off"
            spellcheck={false}
            data-testid="confirm-word"
            onInput={(event) => setTyped(event.currentTarget.value)}
          />
        </label>
        <div class="actions actions-end">
          <button type="button" class="button" data-testid="confirm-cancel" onClick={onClose}>
            Cancel
          </button>
          <button class="button button-danger" disabled={typed.trim() !== word} data-testid="confirm-accept">
            {action}
          </button>
        </div>
      </form>
    </Dialog>
  );
}
