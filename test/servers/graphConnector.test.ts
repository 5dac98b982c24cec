import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, expect, test } from "vitest";
import { createAuthority, createServerCertificate } from "../../sandbox/graph/certificates.ts";
import { GraphConnector } from "../../src/engine/connectors/graph/connector.ts";
import { graphSettingsSchema } from "../../src/engine/connectors/graph/settings.ts";
import { attributesToJson } from "../../src/engine/core/values.ts";
import type { ConnectorErrorKind, ImportEntry, ImportPage } from "../../src/engine/ports/connector.ts";
import type { GraphBench } from "../support/graph.ts";
import {
  graphSettings,
  guestAttributes,
  guestDefinition,
  impatient,
  importAll,
  openGraph,
} from "../support/graph.ts";

const opened: { close(): Promise<void> }[] = [];

async function open(...options: Parameters<typeof openGraph>): Promise<GraphBench> {
  const bench = await openGraph(...options);
  opened.push(bench);
  return bench;
}

afterEach(async () => {
  for (const bench of opened.splice(0)) await bench.close();
});

const full = { kind: "full" } as const;
const oldTls = { minVersion: "TLSv1", maxVersion: "TLSv1.1", ciphers: "DEFAULT:@SECLEVEL=0" } as const;

/** The tenant's users as the administrator sees them, the authority for what an import must hold. */
async function users(bench: GraphBench, query = "userType=Guest"): Promise<Record<string, unknown>[]> {
  return (await bench.admin("GET", `/users?${query}`)).users as Record<string, unknown>[];
}

function failure(kind: ConnectorErrorKind, message: RegExp) {
  return expect.objectContaining({ kind, message: expect.stringMatching(message) });
}

function objectsOf(entries: ReadonlyMap<string, ImportEntry>): string[] {
  return [...entries.values()].filter(({ kind }) => kind === "object").map(({ anchor }) => anchor!);
}

function absences(entries: ReadonlyMap<string, ImportEntry>): Record<string, string> {
  return Object.fromEntries(
    [...entries.values()].flatMap((entry) =>
      entry.kind === "absent" ? [[entry.anchor, entry.absence]] : [],
    ),
  );
}

/** The display name that the entry imports. */
function nameIn(entries: ReadonlyMap<string, ImportEntry>, anchor: string): unknown {
  const entry = entries.get(anchor);
  return entry?.kind === "object" ? entry.image.attributes.displayName : entry;
}

test("a full import gives every guest whole, no member, and the source's own count", async () => {
  const bench = await open({ guests: 40, members: 15 }, { pageSize: 7 });
  const { entries, pages, complete } = await importAll(bench.connector, full, bench.context);

  const guests = await users(bench);
  expect(guests).toHaveLength(40);
  expect(objectsOf(entries).sort()).toEqual(guests.map(({ id }) => id).sort());
  expect(complete.sourceCount).toBe(40);
  expect(pages.length).toBeGreaterThan(6);
  for (const guest of guests) {
    const entry = entries.get(guest.id as string);
    if (entry?.kind !== "object") throw new Error(`${guest.id} is ${entry?.kind}`);
    expect(entry.image).toMatchObject({ objectType: "user", dn: guest.id });
    const expected = Object.fromEntries(
      guestAttributes
        .map((name) => [name, name === "createdDateTime" ? { $dt: guest[name] } : guest[name]])
        .filter(([, value]) => value !== undefined && value !== null && (value as string).length !== 0),
    );
    expect(attributesToJson(entry.image.attributes)).toEqual(expected);
  }
});

test("each page can be gone on from by another process, whose import ends the same", async () => {
  const bench = await open({ guests: 20 }, { pageSize: 6 });
  const [removed] = await users(bench);
  await bench.admin("DELETE", `/users/${removed!.id}`);
  const whole = await importAll(bench.connector, full, bench.context);

  const entries = new Map<string, ImportEntry>();
  let start: Parameters<GraphConnector["importPages"]>[0] = full;
  let last: ImportPage | undefined;
  let processes = 0;
  while (last?.complete === undefined) {
    for await (const page of bench.connect().importPages(start, bench.context)) {
      last = page;
      for (const entry of page.entries) entries.set(entry.anchor!, entry);
      if (page.resumeAt !== null) start = { kind: "resume", cursor: page.resumeAt };
      break;
    }
    processes++;
  }
  expect(processes).toBe(whole.pages.length);
  expect(entries).toEqual(whole.entries);
  expect(last.complete.sourceCount).toBe(19);
});

test("guests who come and go while a full import lists do not make its listing a short one", async () => {
  const bench = await open({ guests: 9 }, { pageSize: 3 });
  const [gone] = await users(bench);
  const seen = new Set<string>();
  let sourceCount: number | undefined;
  for await (const page of bench.connector.importPages(full, bench.context)) {
    if (seen.size === 0) await bench.admin("POST", "/guests", { count: 5 });
    for (const { kind, anchor } of page.entries) if (kind === "object") seen.add(anchor!);
    sourceCount = page.complete?.sourceCount;
  }
  expect(sourceCount).toBe(9);
  expect(seen.size).toBeGreaterThanOrEqual(9);
  await bench.admin("DELETE", `/users/${gone!.id}`);
  const { complete } = await importAll(bench.connector, full, bench.context);
  expect(complete.sourceCount).toBe(13);
});

test("a full import tells the soft deleted guests, not the members, by their ids alone", async () => {
  const bench = await open();
  const [guest] = await users(bench);
  const [member] = await users(bench, "userType=Member");
  await bench.admin("DELETE", `/users/${guest!.id}`);
  await bench.admin("DELETE", `/users/${member!.id}`);
  const { entries, complete } = await importAll(bench.connector, full, bench.context);
  expect(absences(entries)).toEqual({ [guest!.id as string]: "softDeleted" });
  expect(complete.sourceCount).toBe(11);
});

test("what changes while a full import lists comes with the next delta import", async () => {
  const bench = await open({ guests: 9 }, { pageSize: 3 });
  const [first] = await users(bench);
  let watermark: string | undefined;
  for await (const page of bench.connector.importPages(full, bench.context)) {
    // The first guest has been listed by now.
    await bench.admin("PATCH", `/users/${first!.id}`, { displayName: "Changed Meanwhile" });
    watermark = page.complete?.watermark;
  }
  const { entries } = await importAll(
    bench.connector,
    { kind: "delta", watermark: watermark! },
    bench.context,
  );
  expect([...entries.keys()]).toEqual([first!.id]);
  expect(nameIn(entries, first!.id as string)).toBe("Changed Meanwhile");
});

const roughManners = {
  emptyPages: true,
  duplicates: true,
  partialObjects: true,
  replays: 4,
  pageSize: 2,
};

test.each([
  ["a mild service", {}],
  ["a service that takes every liberty", roughManners],
])(
  "a delta import gives whole objects and every kind of absence: %s",
  async (_, manners: Partial<typeof roughManners>) => {
    const bench = await open({ manners });
    const { complete } = await importAll(bench.connector, full, bench.context);
    const guests = await users(bench);
    const [renamed, cleared, deleted, purged, restored, left, blocked] = guests.map(({ id }) => id as string);
    const [member] = await users(bench, "userType=Member");
    const { users: added } = await bench.admin("POST", "/guests", { count: 2 });

    await bench.admin("PATCH", `/users/${renamed}`, { displayName: "First" });
    await bench.admin("PATCH", `/users/${renamed}`, { displayName: "Last", givenName: "New" });
    await bench.admin("PATCH", `/users/${cleared}`, { givenName: null, mail: null });
    await bench.admin("DELETE", `/users/${deleted}`);
    await bench.admin("DELETE", `/users/${purged}`);
    await bench.admin("POST", `/users/${purged}/purge`);
    await bench.admin("DELETE", `/users/${restored}`);
    await bench.admin("POST", `/users/${restored}/restore`);
    await bench.admin("PATCH", `/users/${left}`, { userType: "Member" });
    await bench.admin("POST", `/users/${blocked}/block`);
    await bench.admin("PATCH", `/users/${member!.id}`, { displayName: "Not Ours" });

    const delta = await importAll(
      bench.connector,
      { kind: "delta", watermark: complete.watermark },
      bench.context,
    );
    const newIds = (added as { id: string }[]).map(({ id }) => id);
    expect(objectsOf(delta.entries).sort()).toEqual([renamed, cleared, restored, blocked, ...newIds].sort());
    expect(absences(delta.entries)).toEqual({
      [deleted!]: "softDeleted",
      [purged!]: "deleted",
      [left!]: "outOfScope",
      [member!.id as string]: "outOfScope",
    });
    expect(delta.complete.sourceCount).toBeUndefined();

    // Every object as a full import would give it.
    const again = await importAll(bench.connect(), full, bench.context);
    for (const id of objectsOf(delta.entries)) expect(delta.entries.get(id)).toEqual(again.entries.get(id));
    expect(nameIn(delta.entries, renamed!)).toBe("Last");
    expect(delta.entries.get(cleared!)).not.toHaveProperty("image.attributes.mail");

    // Nothing is left over; a replay brings only what is true anyway.
    const idle = await importAll(
      bench.connector,
      { kind: "delta", watermark: delta.complete.watermark },
      bench.context,
    );
    for (const [id, entry] of idle.entries) expect(entry).toEqual(delta.entries.get(id));
    if (manners.replays === undefined) expect(idle.entries.size).toBe(0);
  },
);

test("a delta import of many changes is gone on with by other processes", async () => {
  const bench = await open({ guests: 60, manners: { pageSize: 25 } });
  const { complete } = await importAll(bench.connector, full, bench.context);
  const guests = await users(bench);
  for (const { id } of guests) await bench.admin("PATCH", `/users/${id}`, { displayName: `New ${id}` });

  let start: Parameters<GraphConnector["importPages"]>[0] = { kind: "delta", watermark: complete.watermark };
  const entries = new Map<string, ImportEntry>();
  for (let last: ImportPage | undefined; last?.complete === undefined; ) {
    for await (const page of bench.connect().importPages(start, bench.context)) {
      last = page;
      for (const entry of page.entries) entries.set(entry.anchor!, entry);
      if (page.resumeAt !== null) start = { kind: "resume", cursor: page.resumeAt };
      break;
    }
  }
  expect(entries.size).toBe(60);
  for (const { id } of guests) expect(nameIn(entries, id as string)).toBe(`New ${id}`);
});

test("with a filter on accountEnabled, blocking a guest takes it out of scope", async () => {
  const bench = await open({ guests: 10 }, { filter: "userType eq 'Guest' and accountEnabled eq true" });
  const { entries, complete } = await importAll(bench.connector, full, bench.context);
  const enabled = (await users(bench)).filter(({ accountEnabled }) => accountEnabled === true);
  expect(objectsOf(entries)).toHaveLength(enabled.length);
  expect(complete.sourceCount).toBe(enabled.length);
  await bench.admin("POST", `/users/${enabled[0]!.id}/block`);
  const delta = await importAll(
    bench.connector,
    { kind: "delta", watermark: complete.watermark },
    bench.context,
  );
  expect(absences(delta.entries)).toEqual({ [enabled[0]!.id as string]: "outOfScope" });
});

test("a direct look tells what became of each object, in the order asked", async () => {
  const bench = await open();
  const [present, deleted, purged, left] = (await users(bench)).map(({ id }) => id as string);
  await bench.admin("DELETE", `/users/${deleted}`);
  await bench.admin("DELETE", `/users/${purged}`);
  await bench.admin("POST", `/users/${purged}/purge`);
  await bench.admin("PATCH", `/users/${left}`, { userType: "Member" });
  const unknown = "00000000-0000-4000-8000-000000000000";
  const verdicts = await bench.connector.readAbsent(
    [left!, "not an id", purged!, present!, unknown, deleted!, present!],
    bench.context,
  );
  expect(verdicts).toEqual([
    { kind: "gone", absence: "outOfScope" },
    { kind: "gone", absence: "deleted" },
    { kind: "gone", absence: "deleted" },
    expect.objectContaining({ kind: "present", image: expect.objectContaining({ dn: present }) }),
    { kind: "gone", absence: "deleted" },
    { kind: "gone", absence: "softDeleted" },
    expect.objectContaining({ kind: "present" }),
  ]);
});

test("more objects than a batch holds are looked at, though answers come in another order", async () => {
  const bench = await open({ guests: 130 });
  const ids = (await users(bench)).map(({ id }) => id as string);
  const verdicts = await bench.connector.readAbsent(ids, bench.context);
  expect(verdicts.map((verdict) => verdict.kind === "present" && verdict.image.dn)).toEqual(ids);
});

test.each([
  ["throttled", { status: 429, retryAfter: 1 }],
  ["unavailable", { status: 503, times: 2 }],
  ["failing", { status: 500 }],
  ["behind a bad gateway", { status: 502, body: "<html>" }],
  ["dropping connections", { reset: true }],
  ["sending half an answer", { truncate: true }],
  ["answering success that is not JSON", { status: 200, body: "<html>" }],
])("a full import goes on through a service that is %s, at each of its requests", async (_, fault) => {
  const bench = await open({ guests: 8 }, { pageSize: 4 });
  const orders = [
    { pathPattern: "/v1.0/users/delta" },
    { pathPattern: "/v1.0/users?$filter" },
    { pathPattern: "/v1.0/directory/deletedItems" },
    // The count, after the page asked for again and the second page.
    { pathPattern: "/v1.0/users?$filter", skip: 2 },
  ];
  // A named delay is a second at least: once is enough.
  const struck = "retryAfter" in fault ? orders.slice(0, 1) : orders;
  await bench.admin(
    "POST",
    "/faults",
    struck.map((order) => ({ ...order, ...fault })),
  );
  const { entries, complete } = await importAll(bench.connector, full, bench.context);
  expect(objectsOf(entries)).toHaveLength(8);
  expect(complete.sourceCount).toBe(8);
  expect(bench.log.join("\n")).toMatch(/Asking again in/);
  expect((await bench.admin("GET", "/stats")).faultsWaiting).toBe(0);
});

test("a batch is asked again as a whole when it fails, and in part when only some of it does", async () => {
  const bench = await open({ guests: 25 });
  const ids = (await users(bench)).map(({ id }) => id as string);
  await bench.admin("POST", "/faults", [
    { method: "POST", pathPattern: "/v1.0/$batch", status: 503 },
    { method: "POST", pathPattern: "/v1.0/$batch", reset: true },
    { method: "GET", pathPattern: `/v1.0/users/${ids[3]}`, status: 429, retryAfter: 1, times: 2 },
    { method: "GET", pathPattern: `/v1.0/users/${ids[21]}`, status: 504 },
  ]);
  const verdicts = await bench.connector.readAbsent(ids, bench.context);
  expect(verdicts.every(({ kind }) => kind === "present")).toBe(true);
  expect(bench.log.join("\n")).toMatch(/1 of 20 in a batch/);
});

test("a throttled service that names a long delay is left alone, and its delay handed on", async () => {
  const bench = await open();
  await bench.admin("POST", "/faults", [{ status: 429, retryAfter: 120 }]);
  const error = await importAll(bench.connector, full, bench.context).catch((cause) => cause);
  expect(error).toEqual(failure("throttled", /429/));
  expect(error.retryAfterMs).toBe(120_000);
  expect((await bench.admin("GET", "/stats")).requests).toEqual({});
});

test("the patience has an end", async () => {
  const bench = await open();
  await bench.admin("POST", "/faults", [{ status: 503, times: 100 }]);
  await expect(importAll(bench.connector, full, bench.context)).rejects.toEqual(
    failure("unreachable", /503/),
  );
  expect(bench.log).toHaveLength(impatient.retry.attemptsMax - 1);
});

test.each(["reset", "expired"])(
  "a watermark that the service has %s asks for a full import",
  async (answer) => {
    const bench = await open();
    const { complete } = await importAll(bench.connector, full, bench.context);
    await bench.admin("POST", "/tokens/expire", { answer });
    await expect(
      importAll(bench.connector, { kind: "delta", watermark: complete.watermark }, bench.context),
    ).rejects.toEqual(failure("watermark-expired", /full import/));
  },
);

test.each([
  ["cannot read", { code: "Request_BadRequest", message: "Badly formed token." }],
  ["wants to have renewed", { code: "Directory_ResyncRequired", message: "Resync." }],
  ["refuses in words that nobody knows", { code: "Request_BadRequest", message: "Invalid parameter." }],
])(
  "a stored token that the service %s asks for a full import, at its beginning and when it goes on",
  async (_, error) => {
    const bench = await open({ guests: 12, members: 0 }, { pageSize: 5 });
    const { complete, pages } = await importAll(bench.connector, full, bench.context);
    const resumeAt = pages.find((page) => page.resumeAt !== null)!.resumeAt!;
    for (const start of [
      { kind: "delta", watermark: complete.watermark },
      { kind: "resume", cursor: resumeAt },
    ] as const) {
      await bench.admin("POST", "/faults", [{ status: 400, body: { error } }]);
      await expect(importAll(bench.connector, start, bench.context)).rejects.toEqual(
        failure("watermark-expired", /full import/),
      );
    }
    // What is built anew and refused is a mistake in the settings, or each import would end in another one.
    await bench.admin("POST", "/faults", [
      { status: 400, body: { error: { code: "Request_BadRequest", message: "Invalid parameter." } } },
    ]);
    await expect(importAll(bench.connector, full, bench.context)).rejects.toEqual(
      failure("configuration", /GRAPH_BASE_URL/),
    );
  },
);

test("refusals say what to mend", async () => {
  const bench = await open();
  await expect(bench.connect({ accessToken: "wrong" }).ping()).rejects.toEqual(
    failure("access-denied", /GRAPH_ACCESS_TOKEN/),
  );
  await bench.admin("POST", "/faults", [{ status: 403 }]);
  await expect(bench.connector.ping()).rejects.toEqual(failure("permission-denied", /User\.Read\.All/));
  await expect(bench.connector.ping()).resolves.toBeUndefined();

  const { caCertificate: _, ...withoutAuthority } = graphSettings(bench.sandbox);
  const distrustful = new GraphConnector(guestDefinition, withoutAuthority, impatient);
  await expect(distrustful.ping()).rejects.toEqual(
    failure("unreachable", /not trusted.*GRAPH_CA_CERTIFICATE.*GRAPH_BASE_URL/),
  );
  await distrustful.close();

  const { port } = new URL(bench.sandbox.url);
  await bench.sandbox.close();
  await expect(bench.connect().ping()).rejects.toEqual(
    failure("unreachable", new RegExp(`localhost:${port}.*ECONNREFUSED.*GRAPH_BASE_URL`)),
  );
  opened.length = 0;
});

/** The first page of the guests; what counts them begins otherwise. */
const listing = `/v1.0/users?$filter=userType%20eq%20%27Guest%27&$select`;

test.each([
  ["a page without value", { "@odata.context": "x" }, /without `value`/],
  ["a list in place of a page", [], /without `value`/],
  [
    "a link to another host",
    { value: [], "@odata.nextLink": "https://evil.example/v1.0/users" },
    /another address/,
  ],
  ["a link that is none", { value: [], "@odata.nextLink": 5 }, /no link/],
])("%s does not pass for the end of the listing", async (_, body, message) => {
  const bench = await open();
  await bench.admin("POST", "/faults", [{ pathPattern: listing, status: 200, body }]);
  await expect(importAll(bench.connector, full, bench.context)).rejects.toEqual(
    failure("unreachable", message),
  );
});

test("pages that run in a circle end the import without calling it complete", async () => {
  const bench = await open();
  const link = `${bench.sandbox.url}/v1.0/users?$skiptoken=again`;
  await bench.admin("POST", "/faults", [
    { pathPattern: "/v1.0/users?$", status: 200, times: 50, body: { value: [], "@odata.nextLink": link } },
  ]);
  await expect(importAll(bench.connector, full, bench.context)).rejects.toEqual(
    failure("unreachable", /circle/),
  );
});

test("a delta round that a lagging replica contradicts is read again", async () => {
  const bench = await open();
  const { complete } = await importAll(bench.connector, full, bench.context);
  const [stale, hidden] = await users(bench);
  await bench.admin("PATCH", `/users/${stale!.id}`, { displayName: "New" });
  await bench.admin("PATCH", `/users/${hidden!.id}`, { displayName: "There" });
  await bench.admin("POST", "/faults", [
    {
      method: "GET",
      pathPattern: `/v1.0/users/${stale!.id}`,
      status: 200,
      body: { ...stale, displayName: "Old" },
    },
    { method: "GET", pathPattern: `/v1.0/users/${hidden!.id}`, status: 404 },
  ]);
  const { entries } = await importAll(
    bench.connector,
    { kind: "delta", watermark: complete.watermark },
    bench.context,
  );
  expect(nameIn(entries, stale!.id as string)).toBe("New");
  expect(nameIn(entries, hidden!.id as string)).toBe("There");
  expect(bench.log.join("\n")).toMatch(/2 users .* read again/);
});

test("a user with a value of the wrong type is an error of its own", async () => {
  const bench = await open({ guests: 3 });
  const [guest, other] = await users(bench);
  await bench.admin("POST", "/faults", [
    {
      pathPattern: listing,
      status: 200,
      body: { value: [{ ...guest, displayName: ["x"] }, { ...other }, { userType: "Guest" }] },
    },
  ]);
  const pages: ImportPage[] = [];
  for await (const page of bench.connector.importPages(full, bench.context)) pages.push(page);
  expect(pages[0]!.entries).toEqual([
    expect.objectContaining({ kind: "error", anchor: guest!.id, code: "invalid-attribute-value" }),
    expect.objectContaining({ kind: "object", anchor: other!.id }),
    expect.objectContaining({ kind: "error", code: "missing-anchor-component" }),
  ]);
});

test("an import that is called off ends at once, also while it waits", async () => {
  const bench = await open();
  await bench.admin("POST", "/faults", [{ status: 429, retryAfter: 2, times: 100 }]);
  const controller = new AbortController();
  const context = { log: () => controller.abort(), signal: controller.signal };
  await expect(importAll(bench.connector, full, context)).rejects.toThrow(/abort/i);
  // It waited for the service no second time.
  expect((await bench.admin("GET", "/stats")).requests).toEqual({});
});

test("neither log nor errors hold tokens or links of the service", async () => {
  const bench = await open({ guests: 8 }, { pageSize: 2 });
  await bench.admin("POST", "/faults", [
    { pathPattern: "/v1.0/users?$filter", status: 503, skip: 1 },
    {
      pathPattern: "/v1.0/users",
      status: 400,
      skip: 4,
      body: { error: { code: "x", message: "https://h/?$skiptoken=S" } },
    },
  ]);
  const error: Error = await importAll(bench.connector, full, bench.context).catch((cause) => cause);
  const told = [...bench.log, error.message, error.stack].join("\n");
  expect(told).toMatch(/503/);
  expect(told).not.toMatch(/skiptoken|deltatoken/);
  expect(told).not.toContain(bench.sandbox.token);
});

test("exports are refused", async () => {
  const bench = await open();
  expect(bench.connector.capabilities.export).toBe(false);
  await expect(bench.connector.exportBatch([], bench.context)).rejects.toEqual(
    failure("configuration", /only imports/),
  );
});

test.each([
  ["whose certificate has expired", { fromDay: -30, toDay: -1 }, {}, /has expired.*clock/],
  ["whose certificate is not valid yet", { fromDay: 1, toDay: 30 }, {}, /not valid yet.*clock/],
  ["that offers nothing newer than TLS 1.1", undefined, oldTls, /does not speak TLS as expected/],
])("a service %s does not see the token", async (_, validity, tls, message) => {
  const authority = await createAuthority("Doubtful Service");
  const { certificate, privateKey } = await createServerCertificate(authority, [], validity);
  let asked = 0;
  const server = createServer({ key: privateKey, cert: certificate, ...tls }, () => asked++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const connector = new GraphConnector(
    guestDefinition,
    graphSettingsSchema.parse({
      baseUrl: `https://localhost:${(server.address() as AddressInfo).port}`,
      caCertificate: authority.certificate,
      accessToken: "any",
    }),
    impatient,
  );
  opened.push({ close: () => connector.close() }, { close: async () => void server.close() });
  await expect(connector.ping()).rejects.toEqual(failure("unreachable", message));
  expect(asked).toBe(0);
});

test("compressed answers are read, and the authority may stand in a file", async () => {
  const authority = await createAuthority("Compressing Service");
  const { certificate, privateKey } = await createServerCertificate(authority);
  const asked: (string | string[] | undefined)[] = [];
  const damaged = gzipSync("{}").subarray(0, 9);
  const answers = [damaged, gzipSync(JSON.stringify({ value: [{ id: "Zoë" }] }))];
  const server = createServer({ key: privateKey, cert: certificate }, (request, response) => {
    asked.push(request.headers["accept-encoding"]);
    response.setHeader("Content-Encoding", "gzip");
    response.end(answers[asked.length - 1]);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const folder = mkdtempSync(join(tmpdir(), "vestibule-graph-"));
  const caFile = join(folder, "ca.pem");
  writeFileSync(caFile, authority.certificate);
  const connector = new GraphConnector(
    guestDefinition,
    graphSettingsSchema.parse({
      baseUrl: `https://localhost:${(server.address() as AddressInfo).port}`,
      caCertificate: caFile,
      accessToken: "any",
    }),
    impatient,
  );
  opened.push({
    close: async () => {
      await connector.close();
      server.close();
      rmSync(folder, { recursive: true });
    },
  });
  await connector.ping();
  expect(asked).toEqual(["gzip", "gzip"]);
});
