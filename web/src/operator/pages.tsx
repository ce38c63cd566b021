import type { VNode } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { mayOperate } from "../model/people";
import { OPERATOR_TABS, type OperatorTab, routeHref } from "../model/route";
import { useSession } from "../session";
import { ErrorNotice } from "../ui/notice";
import { Header } from "../views/header";
import { ClusterContext, useWatchedCluster } from "./data";
import { AuditPage } from "./views/audit";
import { DataPage } from "./views/data";
import { DesktopsPage } from "./views/desktops";
import { GroupsPage } from "./views/groups";
import { HostsPage } from "./views/hosts";
import { ImagesPage } from "./views/images";
import { OverviewPage } from "./views/overview";
import { PoolsPage } from "./views/pools";
import { SessionsPage } from "./views/sessions";
import { UsersPage } from "./views/users";

const PAGES: Record<OperatorTab, { readonly title: string; readonly Page: () => VNode }> = {
  overview: { title: "Overview", Page: OverviewPage },
  hosts: { title: "Hosts", Page: HostsPage },
  desktops: { title: "Desktops", Page: DesktopsPage },
  sessions: { title: "Sessions", Page: SessionsPage },
  pools: { title: "Pools", Page: PoolsPage },
  images: { title: "Images", Page: ImagesPage },
  data: { title: "Data", Page: DataPage },
  users: { title: "Users", Page: UsersPage },
  groups: { title: "Groups", Page: GroupsPage },
  audit: { title: "Audit", Page: AuditPage },
};

/** The operators' side: one watched cluster, looked at from several pages. */
export function OperatorPages({ tab }: { tab: OperatorTab }): VNode {
  const cluster = useWatchedCluster();
  const { user } = useSession();
  const { title, Page } = PAGES[tab];
  useEffect(() => {
    document.title = `${title} · Rolltop`;
    return () => void (document.title = "Rolltop");
  }, [title]);
  const tabs = useRef<HTMLElement>(null);
  // On a phone most tabs are out of sight.
  useEffect(() => tabs.current?.querySelector('[aria-current="page"]')?.scrollIntoView({ block: "nearest", inline: "center" }), [tab]);
  return (
    <ClusterContext.Provider value={cluster}>
      <Header />
      <main class="operator">
        <nav class="tabs" ref={tabs} aria-label="Operators' pages">
          {OPERATOR_TABS.map((name) => (
            <a
              key={name}
              href={routeHref({ page: "operator", tab: name })}
              data-testid={`tab-${name}`}
              {...(name === tab ? { "aria-current": "page" as const } : {})}
            >
              {PAGES[name].title}
            </a>
          ))}
        </nav>
        {!mayOperate(user) && <p class="quiet">You may look at everything here, and change nothing.</p>}
        {cluster.trouble !== undefined && <ErrorNotice>{cluster.trouble.message} Trying again…</ErrorNotice>}
        <section aria-label={title} data-testid={`page-${tab}`}>
          <Page key={tab} />
        </section>
      </main>
    </ClusterContext.Provider>
  );
}
