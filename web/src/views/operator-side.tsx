import type { ComponentType, VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { OperatorTab } from "../model/route";
import { ErrorNotice } from "../ui/notice";
import { Welcome } from "./welcome";

type Pages = ComponentType<{ tab: OperatorTab }>;

/** The operators' pages, fetched when somebody first opens them. */
export function OperatorSide({ tab }: { tab: OperatorTab }): VNode {
  const [pages, setPages] = useState<{ Pages: Pages }>();
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    import("../operator/pages").then(
      ({ OperatorPages }) => setPages({ Pages: OperatorPages }),
      () => setFailed(true),
    );
  }, []);
  if (pages !== undefined) return <pages.Pages tab={tab} />;
  return (
    <Welcome>
      {failed && (
        <ErrorNotice>
          The operators' pages could not be fetched. The server may be restarting, or may have been updated: load this
          page again.
        </ErrorNotice>
      )}
    </Welcome>
  );
}
