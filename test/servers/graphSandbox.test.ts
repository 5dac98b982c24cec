import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Agent, fetch } from "undici";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { GraphSandbox } from "../../sandbox/graph/server.ts";

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: the tests look into JSON of many shapes
  readonly body: any;
}

let sandbox: GraphSandbox;
let agent: Agent;

async function start(options: Parameters<typeof GraphSandbox.start>[0]): Promise<void> {
  sandbox = await GraphSandbox.start(options);
  agent = new Agent({ connect: { ca: sandbox.ca } });
}

async function stop(): Promise<void> {
  await agent.close();
  await sandbox.close();
}

async function graph(
  target: string,
  init: { method?: string; headers?: object; body?: unknown } = {},
): Promise<Answer> {
  const response = await fetch(target.startsWith("https:") ? target : `${sandbox.url}/v1.0${target}`, {
    method: init.method ?? "GET",
    headers: {
      Authorization: `Bearer ${sandbox.token}`,
      "Content-Type": "application/json",
      ...init.headers,
    },
    ...(init.body === undefined ? {} : { body: JSON.stringify(init.body) }),
    dispatcher: agent,
  });
  const text = await response.text();
  const isJson = response.headers.get("content-type")?.startsWith("application/json") === true;
  return {
    status: response.status,
    headers: response.headers as unknown as Headers,
    body: isJson ? JSON.parse(text) : text,
  };
}

async function admin(method: string, target: string, body?: unknown): Promise<Answer> {
  const response = await fetch(`${sandbox.adminUrl}/admin${target}`, {
    method,
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return {
    status: response.status,
    headers: response.headers as unknown as Headers,
    body: text === "" ? undefined : JSON.parse(text),
  };
}

/** All pages from `target` on: the values, the number of pages and the deltaLink at the end. */
async function walk(target: string, headers: object = {}) {
  // biome-ignore lint/suspicious/noExplicitAny: entries of any shape
  const value: any[] = [];
  let pages = 0;
  let next: string | undefined = target;
  let deltaLink = "";
  while (next !== undefined) {
    const { status, body } = await graph(next, { headers });
    expect(status, JSON.stringify(body)).toBe(200);
    value.push(...body.value);
    pages += 1;
    next = body["@odata.nextLink"];
    deltaLink = body["@odata.deltaLink"] ?? "";
    expect(next !== undefined && deltaLink !== "").toBe(false);
  }
  return { value, pages, deltaLink };
}

const advanced = { ConsistencyLevel: "eventual" };
const guestFilter = `$filter=${encodeURIComponent("userType eq 'Guest'")}`;

describe("the service", () => {
  beforeAll(async () => await start({ guests: 250, members: 30, seed: 1 }));
  afterAll(stop);

  test("is trusted by its own authority only", async () => {
    await expect(fetch(`${sandbox.url}/v1.0/users`)).rejects.toMatchObject({
      cause: { code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE" },
    });
    const { status } = await graph("/organization");
    expect(status).toBe(200);
    const byAddress = sandbox.url.replace("localhost", "127.0.0.1");
    expect((await graph(`${byAddress}/v1.0/organization`)).body.value[0].displayName).toBe("Contoso");
  });

  test("answers 401 without its token, in Graph's form", async () => {
    for (const Authorization of ["", "Bearer wrong"]) {
      const { status, body, headers } = await graph("/users", {
        headers: { Authorization, "client-request-id": "11111111-2222-4333-8444-555555555555" },
      });
      expect(status).toBe(401);
      expect(headers.get("www-authenticate")).toContain("Bearer");
      expect(body.error).toMatchObject({
        code: "InvalidAuthenticationToken",
        message: expect.any(String),
        innerError: {
          date: expect.stringMatching(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$/),
          "request-id": expect.any(String),
          "client-request-id": "11111111-2222-4333-8444-555555555555",
        },
      });
    }
  });

  test("lists 100 users a page with the default properties, and links to the next page", async () => {
    const { body } = await graph("/users");
    expect(body["@odata.context"]).toBe(`${sandbox.url}/v1.0/$metadata#users`);
    expect(body.value).toHaveLength(100);
    expect(Object.keys(body.value[0]).sort()).toEqual(
      [
        ..."businessPhones displayName givenName id jobTitle mail mobilePhone".split(" "),
        ..."officeLocation preferredLanguage surname userPrincipalName".split(" "),
      ].sort(),
    );
    const { value, pages } = await walk("/users");
    expect(pages).toBe(3);
    expect(new Set(value.map((user) => user.id)).size).toBe(280);
  });

  test("lists guests with selected properties in pages of $top, those without a value as null", async () => {
    const { value, pages } = await walk(
      `/users?${guestFilter}&$select=id,surname,userType,otherMails&$top=60`,
    );
    expect(pages).toBe(5);
    expect(value).toHaveLength(250);
    expect(value.every((user) => user.userType === "Guest")).toBe(true);
    expect(value[2]).toEqual({
      id: expect.any(String),
      surname: null,
      userType: "Guest",
      otherMails: [expect.any(String)],
    });
    expect(value.map((user) => user.id)).toEqual(
      (await admin("GET", "/users?userType=Guest")).body.users.map((user: { id: string }) => user.id),
    );
  });

  test("a page is not disturbed by users that come and go between pages", async () => {
    const first = await graph(`/users?${guestFilter}&$top=100&$select=id`);
    const [added] = (await admin("POST", "/guests", { count: 1 })).body.users;
    await admin("POST", `/users/${first.body.value[5].id}/purge`);
    const rest = await walk(first.body["@odata.nextLink"]);
    const ids = [...first.body.value, ...rest.value].map((user) => user.id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids).toHaveLength(251);
    expect(ids).toContain(added.id);
  });

  test.each([
    [
      "userType eq 'guest' and accountEnabled eq false",
      (user: Record<string, unknown>) => user.userType === "Guest" && user.accountEnabled === false,
    ],
    [
      "startswith(displayName,'maria')",
      (user: Record<string, unknown>) => String(user.displayName).startsWith("Maria"),
    ],
    [
      "accountEnabled eq false or (surname eq 'rossi' and givenName in ('Anna','Ben'))",
      (user: Record<string, unknown>) =>
        user.accountEnabled === false ||
        (user.surname === "Rossi" && ["Anna", "Ben"].includes(String(user.givenName))),
    ],
    ["surname eq 'O''Neill'", (user: Record<string, unknown>) => user.surname === "O'Neill"],
  ])("filters by default: %s", async (filter, expected) => {
    const { value } = await walk(`/users?$filter=${encodeURIComponent(filter)}&$select=id&$top=999`);
    const all = (await admin("GET", "/users")).body.users as Record<string, unknown>[];
    expect(value.map((user) => user.id)).toEqual(all.filter(expected).map((user) => user.id));
    expect(value.length).toBeGreaterThan(0);
  });

  test.each([
    "userType ne 'Guest'",
    "not(userType eq 'Guest')",
    "endswith(mail,'@fabrikam.com')",
    "surname eq null",
    "externalUserState eq 'Accepted'",
  ])("filters only with the advanced query parameters: %s", async (filter) => {
    const target = `/users?$filter=${encodeURIComponent(filter)}&$top=999&$select=id`;
    for (const [suffix, headers] of [
      ["", {}],
      ["", advanced],
      ["&$count=true", {}],
    ] as const) {
      const { status, body } = await graph(target + suffix, { headers });
      expect(status).toBe(400);
      expect(body.error).toMatchObject({ code: "Request_UnsupportedQuery", message: "Unsupported Query." });
    }
    const { status, body } = await graph(`${target}&$count=true`, { headers: advanced });
    expect(status).toBe(200);
    expect(body["@odata.count"]).toBe(body.value.length);
    expect(body.value.length).toBeGreaterThan(0);
  });

  test("counts with the header, refuses the segment and ignores the option without it", async () => {
    const counted = await graph(`/users/$count?${guestFilter}`, { headers: advanced });
    expect(counted.headers.get("content-type")).toBe("text/plain");
    const expected = (await admin("GET", "/stats")).body.users.guests;
    expect(counted.body).toBe(String(expected));
    expect((await graph("/users/$count")).body.error).toMatchObject({ code: "Request_BadRequest" });
    const ignored = await graph("/users?$count=true&$top=1");
    expect(ignored.status).toBe(200);
    expect(ignored.body).not.toHaveProperty("@odata.count");
  });

  test("searches with the header only", async () => {
    const target = `/users?$search=${encodeURIComponent('"displayName:garc"')}&$top=999`;
    expect((await graph(target)).body.error.code).toBe("Request_UnsupportedQuery");
    const { body } = await graph(target, { headers: advanced });
    expect(new Set(body.value.map((user: { displayName: string }) => user.displayName))).toEqual(
      new Set(["Maria Garcia"]),
    );
  });

  test.each([
    ["/users?$top=1000", 400, "Request_UnsupportedQuery"],
    ["/users?$top=0", 400, "Request_UnsupportedQuery"],
    ["/users?$top=501&$select=id,signInActivity", 400, "Request_UnsupportedQuery"],
    ["/users?$skip=5", 400, "Request_UnsupportedQuery"],
    ["/users?$select=id,nickname", 400, "BadRequest"],
    ["/users?$select=id,skills", 501, "NotImplemented"],
    ["/users?$filter=nickname%20eq%20'x'", 400, "BadRequest"],
    ["/users?$filter=identities%20eq%20'x'", 400, "Request_UnsupportedQuery"],
    ["/users?$filter=userType%20eq%20'Guest", 400, "BadRequest"],
    ["/users?$filter=accountEnabled%20eq%20'true'", 400, "BadRequest"],
    ["/users?$skiptoken=forged.token", 400, "Request_BadRequest"],
    ["/users/00000000-0000-4000-8000-000000000000", 404, "Request_ResourceNotFound"],
    ["/users/nobody@contoso.com", 404, "Request_ResourceNotFound"],
    ["/directory/deletedItems", 400, "BadRequest"],
    ["/devices", 400, "BadRequest"],
  ])("refuses %s", async (target, status, code) => {
    const answer = await graph(target);
    expect([answer.status, answer.body.error.code]).toEqual([status, code]);
  });

  test("reads one user by id and by principal name", async () => {
    const { users } = (await admin("GET", "/users?userType=Guest&top=1")).body;
    const select = "$select=id,DisplayName,accountEnabled,skills";
    for (const key of [users[0].id, encodeURIComponent(users[0].userPrincipalName)]) {
      const { status, body } = await graph(`/users/${key}?${select}`);
      expect(status).toBe(200);
      expect(body).toEqual({
        "@odata.context": `${sandbox.url}/v1.0/$metadata#users(id,displayName,accountEnabled,skills)/$entity`,
        id: users[0].id,
        displayName: users[0].displayName,
        accountEnabled: users[0].accountEnabled,
        skills: [],
      });
    }
  });

  test("updates a user, and refuses what may not be written", async () => {
    const { users } = (await admin("GET", "/users?userType=Guest&skip=20&top=2")).body;
    const target = `/users/${users[0].id}`;
    expect(
      (await graph(target, { method: "PATCH", body: { jobTitle: "Judge", mobilePhone: null } })).status,
    ).toBe(204);
    expect((await graph(target)).body).toMatchObject({ jobTitle: "Judge", mobilePhone: null });
    for (const body of [
      { id: "x" },
      { externalUserState: "Accepted" },
      { userPrincipalName: users[1].userPrincipalName },
      { jobTitle: 7 },
    ]) {
      const refused = await graph(target, { method: "PATCH", body });
      expect([refused.status, refused.body.error.code]).toEqual([400, "Request_BadRequest"]);
    }
    expect((await graph(target, { method: "PUT" })).status).toBe(405);
  });

  test("a deleted user leaves the listing for the deleted items, mangled, and comes back whole", async () => {
    const { users } = (await admin("GET", "/users?userType=Guest&skip=30&top=1")).body;
    const { id, userPrincipalName } = users[0];
    expect((await admin("DELETE", `/users/${encodeURIComponent(userPrincipalName)}`)).status).toBe(200);
    expect((await graph(`/users/${id}`)).status).toBe(404);
    const deleted = (
      await walk("/directory/deletedItems/microsoft.graph.user?$select=id,userPrincipalName,deletedDateTime")
    ).value;
    expect(deleted).toEqual([
      {
        id,
        userPrincipalName: id.replaceAll("-", "") + userPrincipalName,
        deletedDateTime: expect.stringMatching(/Z$/),
      },
    ]);
    expect((await graph(`/directory/deletedItems/${id}`)).body).toMatchObject({
      "@odata.type": "#microsoft.graph.user",
      id,
      deletedDateTime: deleted[0].deletedDateTime,
    });
    await admin("POST", `/users/${id}/restore`);
    expect((await graph(`/users/${id}`)).body.userPrincipalName).toBe(userPrincipalName);
    expect((await graph(`/directory/deletedItems/${id}`)).status).toBe(404);
  });

  test("answers a batch out of order, each request with its own status", async () => {
    const { users } = (await admin("GET", "/users?top=1")).body;
    await admin("POST", "/faults", [{ pathPattern: "/v1.0/users/throttled", status: 429, retryAfter: 3 }]);
    const { status, body } = await graph("/$batch", {
      method: "POST",
      body: {
        requests: [
          { id: "a", method: "GET", url: `/users/${users[0].id}?$select=id` },
          { id: "b", method: "GET", url: "users/nobody@contoso.com" },
          { id: "c", method: "GET", url: "/users/throttled" },
          {
            id: "d",
            method: "GET",
            url: "/users?$top=1&$count=true",
            headers: { ConsistencyLevel: "eventual" },
          },
          { id: "e", method: "GET", url: "/organization", dependsOn: ["b"] },
        ],
      },
    });
    expect(status).toBe(200);
    const answers = body.responses as {
      id: string;
      status: number;
      headers: Record<string, string>;
      body: Record<string, unknown>;
    }[];
    expect(answers.map(({ id }) => id)).not.toEqual(["a", "b", "c", "d", "e"]);
    const byId = Object.fromEntries(answers.map((answer) => [answer.id, answer]));
    expect(byId.a).toMatchObject({ status: 200, body: { id: users[0].id } });
    expect(byId.b).toMatchObject({ status: 404, body: { error: { code: "Request_ResourceNotFound" } } });
    expect(byId.c).toMatchObject({ status: 429, headers: { "Retry-After": "3" } });
    expect(byId.d!.body["@odata.count"]).toBeGreaterThan(100);
    expect(byId.e!.status).toBe(424);
  });

  test("refuses batches that are too large or ambiguous", async () => {
    const request = (id: number) => ({ id: String(id), method: "GET", url: "/organization" });
    for (const requests of [
      Array.from({ length: 21 }, (_, id) => request(id)),
      [request(1), request(1)],
      "none",
    ]) {
      const { status, body } = await graph("/$batch", { method: "POST", body: { requests } });
      expect([status, body.error.code]).toEqual([400, "BadRequest"]);
    }
  });

  test("counts requests by endpoint", async () => {
    const before = (await admin("GET", "/stats")).body.requests["GET /users/{id}"] ?? { total: 0 };
    await graph("/users/nobody@contoso.com");
    const after = (await admin("GET", "/stats")).body.requests["GET /users/{id}"];
    expect(after.total).toBe(before.total + 1);
    expect(after[404]).toBe((before[404] ?? 0) + 1);
  });
});

describe("faults strike in the order they were given", () => {
  beforeAll(async () => await start({ guests: 5, members: 0 }));
  afterAll(stop);
  afterEach(async () => void (await admin("DELETE", "/faults")));

  test("status with Retry-After, a body of the test's own, then the true answer", async () => {
    await admin("POST", "/faults", [
      { method: "GET", pathPattern: "/v1.0/users", status: 429, retryAfter: 7, times: 2 },
      { status: 403, body: { error: { code: "Custom" } } },
    ]);
    const answers = [
      await graph("/users"),
      await graph("/users"),
      await graph("/users"),
      await graph("/users"),
    ];
    expect(answers.map(({ status }) => status)).toEqual([429, 429, 403, 200]);
    expect(answers[0]!.headers.get("retry-after")).toBe("7");
    expect(answers[0]!.body.error.code).toBe("TooManyRequests");
    expect(answers[2]!.body).toEqual({ error: { code: "Custom" } });
  });

  test("only where they match, after the requests they let pass", async () => {
    await admin("POST", "/faults", { pathPattern: "/v1.0/users/delta", status: 503, skip: 1 });
    expect((await graph("/users")).status).toBe(200);
    expect((await graph("/users/delta")).status).toBe(200);
    expect((await graph("/users/delta")).status).toBe(503);
  });

  test("a reset, half an answer, a late answer", async () => {
    await admin("POST", "/faults", [{ reset: true }, { truncate: true }, { delayMs: 150 }]);
    await expect(graph("/users")).rejects.toThrow("fetch failed");
    await expect(graph("/users")).rejects.toThrow("terminated");
    const before = performance.now();
    expect((await graph("/users")).status).toBe(200);
    expect(performance.now() - before).toBeGreaterThan(140);
  });
});

describe("change tracking", () => {
  beforeAll(async () => await start({ guests: 30, members: 10 }));
  afterAll(stop);
  afterEach(async () => void (await admin("PATCH", "/manners", { ...calm })));

  const calm = {
    pageSize: 200,
    emptyPages: false,
    duplicates: false,
    partialObjects: false,
    replays: 0,
    removedInInitialRound: false,
    lagMs: 0,
  };
  const tracked = "$select=id,displayName,mobilePhone,userType,accountEnabled";
  const latest = async (select = tracked) =>
    (await walk(`/users/delta?${select}&$deltatoken=latest`)).deltaLink;
  const guestAt = async (index: number) =>
    (await admin("GET", `/users?userType=Guest&skip=${index}&top=1`)).body.users[0];

  test("the initial round lists everybody, without properties never set, and ends with a deltaLink", async () => {
    const { value, pages, deltaLink } = await walk("/users/delta?$select=displayName,surname,userType", {
      Prefer: "odata.maxpagesize=15",
    });
    expect(pages).toBe(3);
    expect(value).toHaveLength(40);
    expect(value.some((user) => user.userType === "Member")).toBe(true);
    expect(value.filter((user) => !("surname" in user)).length).toBeGreaterThan(0);
    expect(value.every((user) => typeof user.id === "string" && !Object.values(user).includes(null))).toBe(
      true,
    );
    expect(await walk(deltaLink)).toMatchObject({ value: [], pages: 1 });
  });

  test("latest begins now, with no users", async () => {
    const { status, body } = await graph(`/users/microsoft.graph.delta?${tracked}&$deltaToken=latest`);
    expect(status).toBe(200);
    expect(body.value).toEqual([]);
    expect(body["@odata.deltaLink"]).toMatch(/\/v1\.0\/users\/delta\?\$deltatoken=/);
    expect(body).not.toHaveProperty("@odata.nextLink");
  });

  test("a round has the changed users with all they have of the selection, or only the changes", async () => {
    const link = await latest();
    const guest = await guestAt(0);
    const phone = "+49 30 999";
    await admin("PATCH", `/users/${guest.id}`, { mobilePhone: phone });
    await admin("PATCH", `/users/${guest.id}`, { displayName: "Renamed" });
    await admin("PATCH", `/users/${(await guestAt(1)).id}`, { jobTitle: "not tracked" });
    expect((await walk(link)).value).toEqual([
      {
        id: guest.id,
        displayName: "Renamed",
        mobilePhone: phone,
        userType: "Guest",
        accountEnabled: guest.accountEnabled,
      },
    ]);
    const minimal = { Prefer: "return=minimal" };
    expect((await walk(link, minimal)).value).toEqual([
      { id: guest.id, displayName: "Renamed", mobilePhone: phone },
    ]);

    const later = (await walk(link)).deltaLink;
    await admin("PATCH", `/users/${guest.id}`, { mobilePhone: null });
    expect((await walk(later, minimal)).value).toEqual([{ id: guest.id, mobilePhone: null }]);
    expect((await walk(later)).value[0]).toMatchObject({ displayName: "Renamed", mobilePhone: null });
  });

  test("added, blocked, deleted, restored, purged", async () => {
    const link = await latest();
    const [added] = (await admin("POST", "/guests", { displayName: "New Guest", mail: "new@fabrikam.com" }))
      .body.users;
    const blocked = await guestAt(6);
    await admin("POST", `/users/${blocked.id}/block`);
    const gone = await guestAt(7);
    await admin("DELETE", `/users/${gone.id}`);
    const first = await walk(link);
    const byId = Object.fromEntries(first.value.map((user) => [user.id, user]));
    expect(byId[added.id]).toMatchObject({ displayName: "New Guest", userType: "Guest" });
    expect(byId[blocked.id]).toMatchObject({ accountEnabled: false });
    expect(byId[gone.id]).toEqual({ id: gone.id, "@removed": { reason: "changed" } });

    await admin("POST", `/users/${gone.id}/restore`);
    const second = await walk(first.deltaLink);
    expect(second.value).toEqual([
      expect.objectContaining({ id: gone.id, displayName: gone.displayName, userType: "Guest" }),
    ]);
    await admin("POST", `/users/${gone.id}/purge`);
    expect((await walk(second.deltaLink)).value).toEqual([
      { id: gone.id, "@removed": { reason: "deleted" } },
    ]);
  });

  test("tracks single users by id, and refuses every other filter and option", async () => {
    const [one, other] = [await guestAt(2), await guestAt(3)];
    const filter = encodeURIComponent(`id eq '${one.id}' or id eq '${other.id}'`);
    const { value, deltaLink } = await walk(`/users/delta?$filter=${filter}&$select=displayName`);
    expect(value.map((user) => user.id).sort()).toEqual([one.id, other.id].sort());
    await admin("PATCH", `/users/${(await guestAt(4)).id}`, { displayName: "Another" });
    expect((await walk(deltaLink)).value).toEqual([]);
    for (const option of [guestFilter, "$top=5", "$orderby=displayName", "$expand=manager"]) {
      const { status, body } = await graph(`/users/delta?${option}`);
      expect([status, body.error.code]).toEqual([400, "Request_UnsupportedQuery"]);
    }
  });

  test("expired tokens: 410 with a Location to start over, or syncStateNotFound", async () => {
    const old = await latest();
    await admin("POST", "/tokens/expire");
    const reset = await graph(old);
    expect([reset.status, reset.body.error.code]).toEqual([410, "resyncRequired"]);
    const location = reset.headers.get("location") ?? "";
    expect(location).toMatch(/^https:.*\/users\/delta\?\$select=.*&\$deltatoken=$/);
    const fresh = (await walk(location)).deltaLink;
    expect((await graph(fresh)).status).toBe(200);

    await admin("POST", "/tokens/expire", { answer: "expired" });
    const expired = await graph(fresh);
    expect([expired.status, expired.body.error.code]).toEqual([400, "syncStateNotFound"]);
    expect((await graph("/users/delta?$deltatoken=forged")).status).toBe(400);

    const aged = await latest();
    await admin("PATCH", "/manners", { tokenLifetimeMs: -1 });
    expect((await graph(aged)).body.error.code).toBe("syncStateNotFound");
    await admin("PATCH", "/manners", { tokenLifetimeMs: 7 * 86_400_000 });
  });

  test("with bad manners the same end is reached by way of empty pages, repeats and partial users", async () => {
    const link = await latest();
    for (const index of [10, 11, 12, 13, 14]) {
      await admin("PATCH", `/users/${(await guestAt(index)).id}`, { displayName: `Changed ${index}` });
    }
    const mild = await walk(link);
    await admin("PATCH", "/manners", {
      pageSize: 2,
      emptyPages: true,
      duplicates: true,
      partialObjects: true,
      replays: 1,
    });
    const rough = await walk(link);
    expect(rough.pages).toBeGreaterThan(mild.pages + 3);
    expect(rough.value.length).toBeGreaterThan(mild.value.length);
    expect(rough.value.some((user) => !("userType" in user))).toBe(true);
    const names = (value: { id: string; displayName: string }[]) =>
      new Map(value.map((user) => [user.id, user.displayName]));
    expect([...names(rough.value)]).toEqual(expect.arrayContaining([...names(mild.value)]));
  });

  test("a lagging replica brings a change in a later round", async () => {
    const link = await latest();
    await admin("PATCH", "/manners", { lagMs: 60_000 });
    const guest = await guestAt(15);
    await admin("PATCH", `/users/${guest.id}`, { displayName: "Late" });
    const early = await walk(link);
    expect(early.value).toEqual([]);
    await admin("PATCH", "/manners", { lagMs: 0 });
    expect((await walk(early.deltaLink)).value).toMatchObject([{ id: guest.id, displayName: "Late" }]);
  });
});

describe("a folder keeps the tenant", () => {
  const folder = mkdtempSync(join(tmpdir(), "graph-sandbox-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  test("changes, tokens, ports, token and authority outlive a restart, also one after a torn write", async () => {
    await start({ dataDir: folder, guests: 12, members: 3, seed: 5 });
    const before = { url: sandbox.url, adminUrl: sandbox.adminUrl, token: sandbox.token, ca: sandbox.ca };
    expect(statSync(join(folder, "graph-token")).mode & 0o777).toBe(0o600);
    const { deltaLink } = await walk("/users/delta?$select=displayName,accountEnabled");
    const pages = await graph("/users?$top=4&$select=id");
    const [added] = (await admin("POST", "/guests", { displayName: "Kept" })).body.users;
    const { users } = (await admin("GET", "/users?userType=Guest&top=2")).body;
    await admin("POST", `/users/${users[0].id}/block`);
    await stop();

    appendFileSync(join(folder, "graph-journal.jsonl"), '{"type":"delete","id":"');
    await start({ dataDir: folder });
    expect({ url: sandbox.url, adminUrl: sandbox.adminUrl, token: sandbox.token, ca: sandbox.ca }).toEqual(
      before,
    );
    await admin("DELETE", `/users/${users[1].id}`);
    expect((await walk(deltaLink)).value).toEqual([
      expect.objectContaining({ id: added.id, displayName: "Kept" }),
      expect.objectContaining({ id: users[0].id, accountEnabled: false }),
      { id: users[1].id, "@removed": { reason: "changed" } },
    ]);
    expect((await walk(pages.body["@odata.nextLink"])).value.length).toBe(11);
    await stop();
    expect(readFileSync(join(folder, "graph-journal.jsonl"), "utf8").trim().split("\n")).toHaveLength(3);
    await expect(GraphSandbox.start({ dataDir: folder, guests: 40 })).rejects.toThrow("guests 12, not 40");
  });
});

describe("the process", () => {
  const main = join(import.meta.dirname, "../../sandbox/graph/main.ts");
  const folder = mkdtempSync(join(tmpdir(), "graph-sandbox-main-"));
  afterAll(() => rmSync(folder, { recursive: true }));

  test("says once that it is ready, serves 20,000 guests, and ends with its parent", async () => {
    const child = spawn(process.execPath, [
      main,
      "--data",
      folder,
      "--guests",
      "20000",
      "--exit-with-parent",
    ]);
    const lines: string[] = [];
    const reader = createInterface(child.stdout).on("line", (line) => lines.push(line));
    await once(reader, "line");
    const ready = JSON.parse(lines[0]!);
    expect(ready).toEqual({
      ready: true,
      url: expect.any(String),
      ca: join(folder, "graph-ca.pem"),
      token: expect.any(String),
      admin: expect.any(String),
    });
    const dispatcher = new Agent({ connect: { ca: readFileSync(ready.ca, "utf8") } });
    const ids = new Set<string>();
    let next: string | undefined =
      `${ready.url}/v1.0/users?${guestFilter}&$top=999&$select=id,displayName,userPrincipalName`;
    while (next !== undefined) {
      const response = await fetch(next, { headers: { Authorization: `Bearer ${ready.token}` }, dispatcher });
      const body = (await response.json()) as { value: { id: string }[]; "@odata.nextLink"?: string };
      for (const { id } of body.value) ids.add(id);
      next = body["@odata.nextLink"];
    }
    expect(ids.size).toBe(20_000);
    await dispatcher.close();
    child.stdin.end();
    const [code] = await once(child, "exit");
    expect(code).toBe(0);
    expect(lines).toHaveLength(1);
  });

  test("refuses arguments it cannot use", async () => {
    for (const args of [
      ["--guests", "1"],
      ["--data", folder, "--guests", "many"],
      ["--data", folder, "--guests", "7"],
    ]) {
      const child = spawn(process.execPath, [main, ...args], { stdio: ["ignore", "ignore", "pipe"] });
      let message = "";
      child.stderr.on("data", (chunk) => (message += chunk));
      const [code] = await once(child, "exit");
      expect(code).toBe(2);
      expect(message).toMatch(/^graph sandbox: .*(--data|whole number|guests 20000)/);
    }
  });
});
