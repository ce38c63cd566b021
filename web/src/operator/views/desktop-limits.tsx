import type { VNode } from "preact";
import { useState } from "preact/hooks";
import type { Desktop } from "../../gen/rolltop/v1/broker_pb";
import { useSession } from "../../session";
import { Field } from "../../ui/parts";
import type { useAct } from "../data";

interface LimitsProps extends Pick<ReturnType<typeof useAct>, "busy" | "act" | "say"> {
  desktop: Desktop;
}

const FIELDS = [
  ["memoryMib", "Memory, MiB"],
  ["cpuMillis", "Processor, thousandths"],
  ["pids", "Processes"],
  ["networkDownBits", "To it, bits a second"],
  ["networkUpBits", "From it, bits a second"],
  ["diskReadBytes", "Read from its disk, bytes a second"],
  ["diskWriteBytes", "Written to it, bytes a second"],
  ["diskOps", "Reads a second, and as many writes"],
] as const;

type Name = (typeof FIELDS)[number][0];

/** Changes what a running desktop may use, for its life. */
export function DesktopLimits({ desktop: { id, limits }, busy, act, say }: LimitsProps): VNode {
  const { broker } = useSession();
  const shown = (name: Name): string => (limits === undefined || limits[name] === 0n ? "" : String(limits[name]));
  const [draft, setDraft] = useState<Partial<Record<Name, string>>>({});
  const submit = async (event: SubmitEvent): Promise<void> => {
    event.preventDefault();
    const change: Partial<Record<Name, bigint>> = {};
    for (const [name, label] of FIELDS) {
      const text = draft[name]?.trim();
      // What nobody touched stays as it is.
      if (text === undefined || text === shown(name)) continue;
      if (!/^[0-9]{0,12}$/.test(text)) return say(`${label}: “${text}” is no whole number. Leave it empty for no limit.`);
      change[name] = BigInt(text === "" ? 0 : text);
    }
    if (Object.keys(change).length === 0) return say("Nothing is changed.");
    if (await act(() => broker.setDesktopLimits({ desktop: id, ...change }))) setDraft({});
  };
  return (
    <form class="field-row" data-testid="desktop-limits" onSubmit={(event) => void submit(event)}>
      {FIELDS.map(([name, label]) => (
        <Field key={name} label={label} hint="Empty: no limit.">
          <input
            inputMode="numeric"
            value={draft[name] ?? shown(name)}
            data-testid={`limit-${name}`}
            onInput={(event) => setDraft({ ...draft, [name]: event.currentTarget.value })}
          />
        </Field>
      ))}
      <div class="actions">
        <button class="button" disabled={busy} data-testid="limits-save">
          Set limits
        </button>
      </div>
    </form>
  );
}
