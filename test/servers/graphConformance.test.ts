import { type ConformanceTarget, connectorConformance } from "../conformance/connector.ts";
import { guestAttributes, openGraph } from "../support/graph.ts";

const attributes = [...guestAttributes, "department", "employeeId", "mailNickname"];
const definition = { name: "AADMA", objectTypes: [{ name: "user", attributes }] };

async function openGroups(): Promise<ConformanceTarget> {
  const attributes = [
    "description",
    "displayName",
    "mailNickname",
    "members",
    "securityEnabled",
    "uniqueName",
  ];
  const groupDefinition = { name: "OUT", objectTypes: [{ name: "group", attributes }] };
  const settings = { pageSize: 5, writable: true, groupFilter: "securityEnabled eq true" };
  const bench = await openGraph({ guests: 2, members: 3 }, settings);
  const path = (anchor: string) => `/groups/${anchor}`;
  const flaws = {
    wrongPassword: { accessToken: "not-the-token" },
    untrustedCertificate: { caCertificate: undefined },
    wrongServerName: {},
    unreachable: { baseUrl: "https://localhost:1" },
  };
  let made = 0;
  // The service keeps deleted Microsoft 365 groups alone, so that they can be restored.
  const restorable = { groupTypes: ["Unified"], mailEnabled: true };
  return {
    objectType: "group",
    outOfScope: "gone",
    clearable: "description",
    connect: (flaw) => bench.connect(flaw === undefined ? {} : (flaws[flaw] as object), groupDefinition),
    fixtures: {
      add: async (displayName) =>
        String((await bench.admin("POST", "/groups", { displayName, ...restorable })).id),
      change: async (anchor, displayName) => void (await bench.admin("PATCH", path(anchor), { displayName })),
      delete: async (anchor) => void (await bench.admin("DELETE", path(anchor))),
      restore: async (anchor) => void (await bench.admin("POST", `${path(anchor)}/restore`)),
      moveOut: async (anchor) => void (await bench.admin("PATCH", path(anchor), { securityEnabled: false })),
      async read(anchor) {
        const group = await bench.admin("GET", path(anchor));
        if (group.state !== "active") return undefined;
        const texts = Object.entries(group).filter(([, value]) => typeof value === "string");
        return Object.fromEntries(texts.map(([name, value]) => [name, [String(value)]]));
      },
      newAccount: (name) => ({
        dn: name,
        renamedDn: name,
        attributes: {
          description: "Made by the suite",
          displayName: name,
          mailNickname: `suite-${++made}`,
          uniqueName: `suite's ${made}`,
        },
      }),
      async occupy({ attributes: { uniqueName } }) {
        const holder = { uniqueName: String(uniqueName), securityEnabled: false };
        return String((await bench.admin("POST", "/groups", holder)).id);
      },
      async expired(watermark) {
        await bench.admin("POST", "/tokens/expire", { answer: "expired" });
        return watermark;
      },
    },
    close: () => bench.close(),
  };
}

async function openTarget(): Promise<ConformanceTarget> {
  const bench = await openGraph({ guests: 2, members: 3 }, { pageSize: 5, writable: true });
  const path = (anchor: string) => `/users/${encodeURIComponent(anchor)}`;
  const flaws = {
    wrongPassword: { accessToken: "not-the-token" },
    untrustedCertificate: { caCertificate: undefined },
    wrongServerName: {},
    unreachable: { baseUrl: "https://localhost:1" },
  };
  return {
    objectType: "user",
    outOfScope: "gone",
    clearable: "department",
    connect: (flaw) => bench.connect(flaw === undefined ? {} : (flaws[flaw] as object), definition),
    fixtures: {
      async add(displayName) {
        const { users } = await bench.admin("POST", "/guests", { displayName });
        return (users as { id: string }[])[0]!.id;
      },
      change: async (anchor, displayName) => void (await bench.admin("PATCH", path(anchor), { displayName })),
      delete: async (anchor) => void (await bench.admin("DELETE", path(anchor))),
      restore: async (anchor) => void (await bench.admin("POST", `${path(anchor)}/restore`)),
      moveOut: async (anchor) => void (await bench.admin("PATCH", path(anchor), { userType: "Member" })),
      async read(anchor) {
        const user = await bench.admin("GET", path(anchor)).catch(() => undefined); // 404: it is gone
        if (user?.state !== "active") return undefined;
        const texts = Object.entries(user).filter(([, value]) => typeof value === "string");
        return Object.fromEntries(texts.map(([name, value]) => [name, [String(value)]]));
      },
      newAccount: (name) => {
        const nickname = name.toLowerCase().replaceAll(" ", ".");
        return {
          dn: name,
          renamedDn: name,
          attributes: {
            accountEnabled: true,
            department: "Sales",
            displayName: name,
            employeeId: nickname.slice(0, 16),
            mailNickname: nickname,
            userPrincipalName: `${nickname}@contoso.onmicrosoft.com`,
            userType: "Guest",
          },
        };
      },
      async occupy({ attributes: { userPrincipalName } }) {
        const { users } = await bench.admin("POST", "/guests", {
          userPrincipalName: String(userPrincipalName),
        });
        return (users as { id: string }[])[0]!.id;
      },
      async expired(watermark) {
        await bench.admin("POST", "/tokens/expire", { answer: "reset" });
        return watermark;
      },
    },
    close: () => bench.close(),
  };
}

const skips = {
  "a wrong server name is told as such":
    "every name that leads to the loopback stands in the sandbox's certificate; test/fast/graphConnector.test.ts has it",
  "a list of anchors names exactly the objects in scope":
    "Graph shows deletions itself, so no population is compared",
  "a rename is done once, however often it is sent":
    "the name of an object in Entra is its id, which never changes",
};
connectorConformance("Graph sandbox", openTarget, skips);
connectorConformance("Graph sandbox, groups", openGroups, skips);
