import type { VNode } from "preact";
import { sentence } from "../../model/format";
import { ErrorNotice } from "../../ui/notice";
import { useListed } from "../../act";
import { useCluster } from "../data";

/** Where a desktop of a pool would be placed now, and why. */
export function Explanation({ pool, user }: { pool: string; user: string }): VNode {
  const { clients } = useCluster();
  const { listed, message } = useListed((signal) => clients.hosts.explainPlacement({ pool, user }, { signal }), 5_000);
  if (message !== "") return <ErrorNotice>{message}</ErrorNotice>;
  return (
    <div data-testid="explanation" aria-busy={listed === undefined}>
      {listed !== undefined && (
        <p>{listed.chosen === "" ? "It would be placed nowhere now." : `A new one would be placed on ${listed.chosen}.`}</p>
      )}
      <div class="grid-scroll" role="region" tabIndex={0} aria-label="Placement">
        <table class="grid">
          <thead>
            <tr>
              <th scope="col">Host</th>
              <th scope="col">Points</th>
              <th scope="col">Why</th>
            </tr>
          </thead>
          <tbody>
            {listed?.hosts.slice(0, 50).map(({ host, reasons, score, parts }) => (
              <tr key={host}>
                <td>{host}</td>
                <td>{reasons.length === 0 ? String(score) : "–"}</td>
                <td>
                  {reasons.length === 0
                    ? parts.map(({ name, points }) => `${name} ${points}`).join(", ")
                    : reasons.map(sentence).join(" ")}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}
