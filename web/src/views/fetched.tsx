import type { ComponentType, VNode } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { OperatorTab } from "../model/route";
import { ErrorNotice } from "../ui/notice";
import { Welcome } from "./welcome";

/** The operators' pages. */
export const OperatorSide = fetched<{ tab: OperatorTab }>(async () => (await import("../operator/pages")).OperatorPages);

/** The page about one's own account. */
export const AccountSide = fetched<object>(async () => (await import("../account/page")).AccountPage);

/** A view whose script is fetched when somebody first opens it. */
function fetched<P extends object>(load: () => Promise<ComponentType<P>>): ComponentType<P> {
  return function Fetched(props: P): VNode {
    const [page, setPage] = useState<{ readonly Page: ComponentType<P> }>();
    const [failed, setFailed] = useState(false);
    useEffect(() => {
      load().then(
        (Page) => setPage({ Page }),
        () => setFailed(true),
      );
    }, []);
    if (page !== undefined) return <page.Page {...props} />;
    return (
      <Welcome>
        {failed && (
          <ErrorNotice>
            This page could not be fetched. The server may be restarting, or may have been updated: load the page again.
          </ErrorNotice>
        )}
      </Welcome>
    );
  };
}
