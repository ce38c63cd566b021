import type { ComponentChildren, VNode } from "preact";
import type { StateLook } from "../model/desktops";

export function State({ look }: { look: StateLook }): VNode {
  return <span class={`state state-${look.tone}`}>{look.label}</span>;
}

/** A row's name: what opens its details. */
export function RowName({ name, onOpen }: { name: string; onOpen: () => void }): VNode {
  return (
    <button type="button" class="row-name" data-testid={`open-${name}`} onClick={onOpen}>
      {name}
    </button>
  );
}

/** Facts with their names; empty ones are left out. */
export function Facts({ facts }: { facts: readonly (readonly [string, ComponentChildren])[] }): VNode {
  return (
    <dl class="fact-list">
      {facts
        .filter(([, value]) => value !== "" && value !== undefined && value !== null)
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

interface FieldProps {
  label: string;
  fault?: string | undefined;
  hint?: string;
  children: ComponentChildren;
}

/** A labelled input with what is wrong with it. */
export function Field({ label, fault, hint, children }: FieldProps): VNode {
  return (
    <label class="field">
      <span>{label}</span>
      {children}
      {hint !== undefined && <small class="field-hint quiet">{hint}</small>}
      {fault !== undefined && fault !== "" && (
        <small class="field-fault" role="alert">
          {fault}
        </small>
      )}
    </label>
  );
}

interface FormButtonsProps {
  busy: boolean;
  action: string;
  testId: string;
  onClose: () => void;
}

/** The end of a form in a dialog. */
export function FormButtons({ busy, action, testId, onClose }: FormButtonsProps): VNode {
  return (
    <div class="actions actions-end">
      <button type="button" class="button" onClick={onClose}>
        Cancel
      </button>
      <button class="button button-primary" aria-busy={busy} disabled={busy} data-testid={testId}>
        {action}
      </button>
    </div>
  );
}
