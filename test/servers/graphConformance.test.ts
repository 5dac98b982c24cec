import { type ConformanceTarget, connectorConformance } from "../conformance/connector.ts";
import { openGraph } from "../support/graph.ts";

const noExport = "the Graph connector imports; exports to Entra are not part of it yet";

async function openTarget(): Promise<ConformanceTarget> {
  const bench = await openGraph({ guests: 2, members: 3 }, { pageSize: 5 });
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
    connect: (flaw) => bench.connect(flaw === undefined ? {} : (flaws[flaw] as object)),
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
        return user && { displayName: [String(user.displayName)] };
      },
      newAccount: () => {
        throw new Error(noExport);
      },
      occupy: () => {
        throw new Error(noExport);
      },
      async expired(watermark) {
        await bench.admin("POST", "/tokens/expire", { answer: "reset" });
        return watermark;
      },
    },
    close: () => bench.close(),
  };
}

connectorConformance("Graph sandbox", openTarget, {
  "a wrong server name is told as such":
    "every name that leads to the loopback stands in the sandbox's certificate; test/fast/graphConnector.test.ts has it",
  "a list of anchors names exactly the objects in scope":
    "Graph shows deletions itself, so no population is compared",
  "an added account is there once, however often it is sent": noExport,
  "an update is done once, however often it is sent": noExport,
  "a rename is done once, however often it is sent": noExport,
  "a delete is done once, however often it is sent": noExport,
  "an add with an unknown outcome is settled by looking": noExport,
  "an update and a delete with an unknown outcome are settled by looking": noExport,
  "a foreign holder of the name is a result that names it, and the others go on": noExport,
  "a value that the directory refuses is a result, and the others go on": noExport,
  "an update of an object that is gone is a result": noExport,
  "a value that somebody else changed is not overwritten": noExport,
  "no write is begun when the time is over, and none is lost": noExport,
});
