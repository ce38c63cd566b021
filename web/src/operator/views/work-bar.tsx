import type { VNode } from "preact";
import type { WorkProgress } from "../../gen/rolltop/v1/storage_pb";
import { workWords } from "../model/data";

/** How far work on kept data is; nothing while there is none. */
export function WorkBar({ progress }: { progress: WorkProgress | undefined }): VNode | null {
  if (progress === undefined) return null;
  const { text, share } = workWords(progress);
  return (
    <label class="work-bar" data-testid="data-work">
      <span class="quiet">{text}…</span>
      <progress {...(share !== undefined && { value: share })} max={1} />
    </label>
  );
}
