import type { VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { ActInfo } from "../../gen/rolltop/v1/audit_pb";
import { Field } from "../../ui/parts";
import { type AuditQuery, EVERYTHING, KINDS, OUTCOMES, outcomeLook } from "../model/audit";

interface AuditFormProps {
  query: AuditQuery;
  acts: readonly ActInfo[];
  onAsk: (query: AuditQuery) => void;
}

/** What is looked for; asked when it is sent, so that no letter typed asks the server. */
export function AuditForm({ query, acts, onAsk }: AuditFormProps): VNode {
  const [draft, setDraft] = useState(query);
  // On a phone it would be all there is to see.
  const [wide] = useState(() => !matchMedia("(width < 45rem)").matches);
  useEffect(() => setDraft(query), [query]);
  const set = (change: Partial<AuditQuery>): void => setDraft((before) => ({ ...before, ...change }));
  const submit = (event: SubmitEvent): void => {
    event.preventDefault();
    onAsk({ ...draft });
  };
  const text = (name: "user" | "name" | "text", label: string, hint?: string): VNode => (
    <Field label={label} {...(hint !== undefined && { hint })}>
      <input
        value={draft[name]}
        autocapitalize="none"
        autocomplete="off"
        spellcheck={false}
        data-testid={`audit-${name}`}
        onInput={(event) => set({ [name]: event.currentTarget.value })}
      />
    </Field>
  );
  const time = (name: "from" | "to", label: string): VNode => (
    <Field label={label}>
      <input
        type="datetime-local"
        value={draft[name]}
        data-testid={`audit-${name}`}
        onInput={(event) => set({ [name]: event.currentTarget.value })}
      />
    </Field>
  );
  return (
    <details class="card audit-form" open={wide}>
      <summary>What to look for</summary>
      <form data-testid="audit-form" onSubmit={submit}>
        <div class="field-row">
          {text("user", "Who")}
          <Field label="Act">
            <select value={draft.act} data-testid="audit-act" onChange={(event) => set({ act: event.currentTarget.value })}>
              <option value="">any</option>
              {acts.map(({ name, about }) => (
                <option key={name} value={name} title={about}>
                  {name}
                </option>
              ))}
            </select>
          </Field>
          <Field label="To a">
            <select value={draft.kind} data-testid="audit-kind" onChange={(event) => set({ kind: event.currentTarget.value })}>
              <option value="">anything</option>
              {KINDS.map((kind) => (
                <option key={kind}>{kind}</option>
              ))}
            </select>
          </Field>
          {draft.kind !== "" && text("name", "Name", "Empty: all of that kind.")}
          <Field label="Outcome">
            <select
              value={String(draft.outcome)}
              data-testid="audit-outcome"
              onChange={(event) => set({ outcome: Number(event.currentTarget.value) })}
            >
              <option value={String(EVERYTHING.outcome)}>any</option>
              {OUTCOMES.map((outcome) => (
                <option key={outcome} value={String(outcome)}>
                  {outcomeLook(outcome).label}
                </option>
              ))}
            </select>
          </Field>
          {time("from", "Not before")}
          {time("to", "Before")}
          {text("text", "Words anywhere")}
        </div>
        <div class="actions">
          <button class="button button-primary" data-testid="audit-ask">
            Look
          </button>
          <button type="button" class="button" onClick={() => onAsk({ ...EVERYTHING })}>
            Clear
          </button>
        </div>
      </form>
    </details>
  );
}
