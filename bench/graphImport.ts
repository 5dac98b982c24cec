/** What the Graph connector costs beside the service: a full import against a bare loop over the same pages. */
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { Agent, get } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startChild } from "../sandbox/child.ts";
import { GraphConnector } from "../src/engine/connectors/graph/connector.ts";
import { graphSettingsSchema } from "../src/engine/connectors/graph/settings.ts";
import { Comparisons, type Pair } from "./comparisons.ts";
import type { Size } from "./connectors.ts";

export interface GraphReady {
  readonly url: string;
  /** The file of the authority. */
  readonly ca: string;
  readonly token: string;
}

export const guestProperties: readonly string[] = [
  "id",
  "userPrincipalName",
  "displayName",
  "givenName",
  "surname",
  "mail",
  "userType",
  "accountEnabled",
  "externalUserState",
];

export async function run(size: Size): Promise<void> {
  const [guests, rounds] = size === "quick" ? [2_000, 1] : [20_000, 5];
  const folder = await mkdtemp(join(tmpdir(), "bench-graph-"));
  const sandbox = await startChild<GraphReady>({
    name: "Graph sandbox",
    file: join(import.meta.dirname, "../sandbox/graph/main.ts"),
    args: ["--data", folder, "--guests", String(guests), "--members", "2000", "--exit-with-parent"],
  });
  try {
    const { url, ca, token } = sandbox.ready;
    const connector = new GraphConnector(
      { name: "AADMA", objectTypes: [{ name: "user", attributes: guestProperties }] },
      graphSettingsSchema.parse({ baseUrl: url, caCertificate: ca, accessToken: token }),
    );
    const agent = new Agent({ ca: await readFile(ca), keepAlive: true });
    const filter = encodeURIComponent("userType eq 'Guest'");
    const first = `${url}/v1.0/users?$filter=${filter}&$select=${guestProperties.join(",")}&$top=999`;
    const pairs: Pair[] = [];
    for (let round = -1; round < rounds; round++) {
      const loop = await timed(guests, () => bareLoop(first, agent, token));
      const whole = await timed(guests, () => fullImport(connector));
      if (round >= 0) pairs.push([loop, whole]); // the first has warmed both up
    }
    const comparisons = new Comparisons("graph", size);
    comparisons.add({
      name: `${guests} guests`,
      unit: "ms",
      base: "bare paging loop",
      ours: "full import, with delta token, deleted users and count",
      rounds: pairs,
      goal: { atMost: 1.3 },
    });
    comparisons.print();
    await connector.close();
    agent.destroy();
  } finally {
    await sandbox.stop(5_000);
    await rm(folder, { recursive: true });
  }
}

/** In milliseconds, by the clock: most of it is the service's time. */
async function timed(guests: number, work: () => Promise<number>): Promise<number> {
  const begun = performance.now();
  const count = await work();
  if (count !== guests) throw new Error(`${count} guests in place of ${guests}.`);
  return performance.now() - begun;
}

async function fullImport(connector: GraphConnector): Promise<number> {
  let count = 0;
  for await (const { entries } of connector.importPages({ kind: "full" }, { log: () => undefined })) {
    for (const { kind } of entries) if (kind === "object") count++;
  }
  return count;
}

/** As little as can be done: each page is asked for, read and parsed. */
async function bareLoop(first: string, agent: Agent, token: string): Promise<number> {
  let count = 0;
  for (let next: string | undefined = first; next !== undefined; ) {
    const page: Page = await readPage(next, agent, token);
    count += page.value.length;
    next = page["@odata.nextLink"];
  }
  return count;
}

interface Page {
  readonly value: readonly unknown[];
  readonly "@odata.nextLink"?: string;
}

function readPage(url: string, agent: Agent, token: string): Promise<Page> {
  return new Promise((resolve, reject) => {
    get(url, { agent, headers: { authorization: `Bearer ${token}` } }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("error", reject);
      answer.on("end", () => resolve(JSON.parse(Buffer.concat(chunks).toString()) as Page));
    }).on("error", reject);
  });
}
