/** Managers, sponsors and members: what a connector reads of them, hears of their changes, and writes; Graph sandbox. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { AttributeChange } from "../../src/engine/core/model.ts";
import { isReference, reference, valuesOf } from "../../src/engine/core/values.ts";
import type {
  Connector,
  ConnectorDefinition,
  Cursor,
  ExportChange,
  ImportEntry,
} from "../../src/engine/ports/connector.ts";
import { type GraphBench, importAll, openGraph } from "../support/graph.ts";

const definition: ConnectorDefinition = {
  name: "TENANT",
  objectTypes: [
    { name: "group", attributes: ["displayName", "id", "mailNickname", "members", "uniqueName"] },
    { name: "user", attributes: ["displayName", "id", "manager", "sponsors"] },
  ],
};

let bench: GraphBench;
let connector: Connector;
let users: string[];
beforeAll(async () => {
  bench = await openGraph({ guests: 2_200, members: 6 });
  connector = bench.connect({ writable: true, filter: "all" }, definition);
  const { users: listed } = await bench.admin("GET", "/users?state=active");
  users = (listed as { id: string }[]).map(({ id }) => id);
});
afterAll(() => bench.close());
beforeEach(async () => {
  await bench.admin("DELETE", "/faults");
  await bench.admin("PATCH", "/manners", { membersPerEntry: 1000, pageSize: 200, duplicates: false });
});

const group = async (members: readonly string[], properties = {}) =>
  String((await bench.admin("POST", "/groups", { members, ...properties })).id);
const newUsers = async (count: number, properties = {}) => {
  const { users: made } = await bench.admin("POST", "/guests", { count, ...properties });
  return (made as { id: string }[]).map(({ id }) => id);
};
const full = () => importAll(connector, { kind: "full" }, bench.context);
const watermark = async () => (await full()).complete.watermark;
const since = async (from: Cursor, over = connector) =>
  importAll(over, { kind: "delta", watermark: from }, bench.context);

function referred(entry: ImportEntry | undefined, name: string): string[] {
  if (entry?.kind !== "object") throw new Error(`not an object: ${JSON.stringify(entry)}`);
  return valuesOf(entry.image.attributes[name]).map((value) => (isReference(value) ? value.dn : ""));
}
const sorted = (ids: readonly string[]) => [...ids].sort();
const members = async (id: string) => sorted((await bench.admin("GET", `/groups/${id}`)).members as string[]);

describe("a full import", () => {
  test("gives users and groups, with managers, sponsors and members of any number", async () => {
    const [boss, sponsor] = await newUsers(2);
    const inner = await group([users[0]!]);
    const [worker] = await newUsers(1, { manager: boss, sponsors: [sponsor!, inner] });
    const large = await group([inner, ...users.slice(0, 2_100)]);
    const empty = await group([]);
    const { entries, complete } = await full();
    expect(referred(entries.get(worker!), "manager")).toEqual([boss]);
    expect(referred(entries.get(worker!), "sponsors")).toEqual(sorted([sponsor!, inner]));
    expect(referred(entries.get(boss!), "manager")).toEqual([]);
    expect(referred(entries.get(large), "members")).toEqual(sorted([inner, ...users.slice(0, 2_100)]));
    expect(referred(entries.get(empty), "members")).toEqual([]);
    expect(complete.sourceCount).toBe(entries.size);
  });

  test("goes on in another process after every page, through both types", async () => {
    const slow = bench.connect({ filter: "userType eq 'Member'", pageSize: 2 }, definition);
    const whole = await importAll(slow, { kind: "full" }, bench.context);
    let cursor = whole.pages[0]!.resumeAt;
    const seen = new Map<string, ImportEntry>();
    for (const entry of whole.pages[0]!.entries) seen.set(entry.anchor!, entry);
    while (cursor !== null) {
      const other = bench.connect({ filter: "userType eq 'Member'", pageSize: 2 }, definition);
      for await (const page of other.importPages({ kind: "resume", cursor }, bench.context)) {
        for (const entry of page.entries) seen.set(entry.anchor!, entry);
        cursor = page.resumeAt;
        break;
      }
    }
    expect(seen).toEqual(whole.entries);
  });

  test("a page of members without its list does not pass for a group without members", async () => {
    await group([users[0]!]);
    await bench.admin("POST", "/faults", {
      pathPattern: "/v1.0/groups/",
      status: 200,
      body: { surprise: true },
      times: 50,
    });
    await expect(full()).rejects.toMatchObject({ kind: "unreachable" });
  });
});

describe("a delta import", () => {
  test("gives a group whole of which it was told a part: who joined, who left", async () => {
    const [joins, leaves, stays] = await newUsers(3);
    const id = await group([leaves!, stays!]);
    const from = await watermark();
    await bench.admin("POST", `/groups/${id}/members`, { id: joins });
    await bench.admin("DELETE", `/groups/${id}/members`, { id: leaves });
    const { entries } = await since(from);
    expect([...entries.keys()]).toEqual([id]);
    expect(referred(entries.get(id), "members")).toEqual(sorted([joins!, stays!]));
  });

  test("takes a large group that comes in many parts, on pages of their own, for one, and reads it once", async () => {
    const id = await group([users[0]!]);
    const from = await watermark();
    for (const member of users.slice(1, 60))
      await bench.admin("POST", `/groups/${id}/members`, { id: member });
    await bench.admin("PATCH", "/manners", { membersPerEntry: 7, pageSize: 2, duplicates: true });
    const before = await requests("GET /groups/{id}/members");
    const { entries, pages } = await since(from);
    expect(pages.length).toBeGreaterThan(3);
    expect(referred(entries.get(id), "members")).toEqual(sorted(users.slice(0, 60)));
    expect(await requests("GET /groups/{id}/members")).toBe(before + 1);
  });

  test("tells of managers who come, change and go, and of groups that are made and deleted", async () => {
    const [first, second, worker] = await newUsers(3);
    const removed = await group([]);
    const kept = await group([], { groupTypes: ["Unified"], mailEnabled: true });
    let from = await watermark();
    for (const manager of [first!, second!, null]) {
      await bench.admin("PATCH", `/users/${worker}`, { manager });
      const { entries, complete } = await since(from);
      expect(referred(entries.get(worker!), "manager")).toEqual(manager === null ? [] : [manager]);
      from = complete.watermark;
    }
    const made = await group([worker!]);
    for (const id of [removed, kept]) await bench.admin("DELETE", `/groups/${id}`);
    const { entries } = await since(from);
    expect(entries.get(removed)).toMatchObject({ kind: "absent", absence: "deleted" });
    expect(entries.get(kept)).toMatchObject({ kind: "absent", absence: "softDeleted" });
    expect(referred(entries.get(made), "members")).toEqual([worker]);
  });

  test("reads again what a lagging replica contradicts", async () => {
    const [late] = await newUsers(1);
    const id = await group([]);
    const from = await watermark();
    await bench.admin("POST", `/groups/${id}/members`, { id: late });
    await bench.admin("POST", "/faults", {
      pathPattern: `/v1.0/groups/${id}/members`,
      status: 200,
      body: { value: [] },
    });
    const { entries } = await since(from);
    expect(referred(entries.get(id), "members")).toEqual([late]);
  });

  test("expired tokens of groups lead to a full import", async () => {
    const from = await watermark();
    await bench.admin("POST", "/tokens/expire", { answer: "reset" });
    await expect(since(from)).rejects.toMatchObject({ kind: "watermark-expired" });
  });

  test("a connector that did not have groups before imports fully", async () => {
    const usersOnly = bench.connect(
      { filter: "all" },
      { name: "T", objectTypes: [definition.objectTypes[1]!] },
    );
    const { complete } = await importAll(usersOnly, { kind: "full" }, bench.context);
    await expect(since(complete.watermark)).rejects.toMatchObject({ kind: "watermark-expired" });
    expect(usersOnly.scopeHash).not.toBe(connector.scopeHash);
  });
});

test("a direct look finds users and groups, with what they refer to", async () => {
  const [member] = await newUsers(1);
  const id = await group([member!]);
  const gone = await group([]);
  await bench.admin("DELETE", `/groups/${gone}`);
  const verdicts = await connector.readAbsent([id, member!, gone], bench.context);
  expect(verdicts).toMatchObject([
    { kind: "present", image: { objectType: "group", attributes: { members: [reference(member!)] } } },
    { kind: "present", image: { objectType: "user" } },
    { kind: "gone", absence: "deleted" },
  ]);
});

async function requests(endpoint: string): Promise<number> {
  const { requests: counts } = await bench.admin("GET", "/stats");
  return (counts as Record<string, { total: number }>)[endpoint]?.total ?? 0;
}

// ---- exports -------------------------------------------------------------------------------------------------------

let number = 0;
const links = (ids: readonly string[]) => (ids.length === 0 ? undefined : ids.map(reference));
function change(
  kind: ExportChange["change"],
  anchor: string | null,
  attributes: readonly Omit<AttributeChange, "rule">[],
  objectType = "group",
): ExportChange {
  number++;
  return {
    id: `change-${number}`,
    objectType,
    change: kind,
    anchor,
    dn: anchor ?? `new ${number}`,
    attributes: attributes.map((one) => ({ ...one, rule: "test" })),
    outcomeUnknown: false,
  };
}
const newGroup = (name: string, ids: readonly string[] = []) =>
  change("add", null, [
    { name: "displayName", after: name },
    { name: "mailNickname", after: name },
    { name: "uniqueName", after: name },
    ...(ids.length === 0 ? [] : [{ name: "members", after: ids.map(reference) }]),
  ]);
/** Members from some to others. */
function membersChange(id: string, before: readonly string[], after: readonly string[]): ExportChange {
  const [from, to] = [links(before), links(after)];
  return change("update", id, [
    {
      name: "members",
      ...(from === undefined ? {} : { before: from }),
      ...(to === undefined ? {} : { after: to }),
    },
  ]);
}
async function send(one: ExportChange) {
  const [result] = await connector.exportBatch([one], bench.context);
  return result!;
}

describe("an export of a group", () => {
  test("creates it with all its members, 20 to a request, and is done once however often it is sent", async () => {
    const add = newGroup("created", users.slice(0, 45));
    const before = await requests("PATCH /groups/{id}");
    const first = await send(add);
    expect(first).toMatchObject({ kind: "exported" });
    expect(await requests("PATCH /groups/{id}")).toBe(before + 3);
    const { anchor } = first as { anchor: string };
    expect(await members(anchor)).toEqual(sorted(users.slice(0, 45)));
    expect(await bench.admin("GET", `/groups/${anchor}`)).toMatchObject({
      displayName: "created",
      groupTypes: [],
      mailEnabled: false,
      securityEnabled: true,
      uniqueName: "created",
    });
    expect(await send({ ...add, outcomeUnknown: true })).toMatchObject({ anchor, resumed: true });
    expect(await send(add)).toMatchObject({ anchor, resumed: true });
  });

  test("that is cut off at any of its requests goes on where it was", async () => {
    for (const skip of [0, 1, 2]) {
      const add = newGroup(`cut-${skip}`, users.slice(0, 45));
      await bench.admin("POST", "/faults", {
        method: "PATCH",
        pathPattern: "/v1.0/groups",
        status: 503,
        skip,
        times: 8,
      });
      await expect(send(add)).rejects.toMatchObject({ kind: "unreachable" });
      await bench.admin("DELETE", "/faults");
      const result = await send({ ...add, outcomeUnknown: true });
      expect(await members((result as { anchor: string }).anchor)).toEqual(sorted(users.slice(0, 45)));
    }
    const { groups } = await bench.admin("GET", "/groups");
    expect(
      (groups as { uniqueName?: string }[]).filter(({ uniqueName }) => uniqueName?.startsWith("cut-")).length,
    ).toBe(3);
  });

  test("whose first answer is lost does not make a second one", async () => {
    const add = newGroup("lost");
    await bench.admin("POST", "/faults", { method: "PATCH", pathPattern: "/v1.0/groups(", reset: true });
    expect(await send(add)).toMatchObject({ kind: "exported" });
    const { groups } = await bench.admin("GET", "/groups");
    expect(
      (groups as { uniqueName?: string }[]).filter(({ uniqueName }) => uniqueName === "lost").length,
    ).toBe(1);
  });

  test("adds and removes exactly those that the change names, and leaves alone who came meanwhile", async () => {
    const [byHand] = await newUsers(1);
    const id = await group([...users.slice(0, 30), byHand!]);
    await send(membersChange(id, users.slice(0, 30), users.slice(20, 65)));
    expect(await members(id)).toEqual(sorted([...users.slice(20, 65), byHand!]));
    await send(membersChange(id, users.slice(20, 65), []));
    expect(await members(id)).toEqual([byHand]);
  });

  test("removes members from the group, and nobody from the tenant", async () => {
    const people = await newUsers(3);
    const id = await group(people);
    await send(membersChange(id, people, []));
    for (const person of people)
      expect(await bench.admin("GET", `/users/${person}`)).toMatchObject({ state: "active" });
  });

  test("tells of a member that is gone, and adds the others", async () => {
    const [gone, ...others] = await newUsers(25);
    const id = await group([]);
    await bench.admin("DELETE", `/users/${gone}`);
    const result = await send(membersChange(id, [], [gone!, ...others]));
    expect(result).toMatchObject({ kind: "failed", code: "cd-missing-object" });
    expect((result as { message: string }).message).toContain(gone);
    expect(await members(id)).toEqual(sorted(others));
  });

  test("does nothing twice when somebody was faster", async () => {
    const people = await newUsers(22);
    const id = await group(people.slice(0, 1));
    // The first look shows nobody, as a replica that lags behind.
    await bench.admin("POST", "/faults", {
      pathPattern: `/v1.0/groups/${id}/members`,
      status: 200,
      body: { value: [] },
    });
    expect(await send(membersChange(id, [], people))).toMatchObject({ kind: "exported" });
    expect(await members(id)).toEqual(sorted(people));
  });

  test("without a uniqueName, or with members that may not be changed, says what to do", async () => {
    const nameless = change("add", null, [{ name: "displayName", after: "Nameless" }]);
    expect(await send(nameless)).toMatchObject({ message: expect.stringMatching(/uniqueName/) });
    const dynamic = await group([], { groupTypes: ["DynamicMembership"] });
    expect(await send(membersChange(dynamic, [], [users[0]!]))).toMatchObject({ kind: "failed" });
  });

  test("a deleted group is deleted once, and its members stay", async () => {
    const [person] = await newUsers(1);
    const id = await group([person!]);
    expect(await send(change("delete", id, []))).toMatchObject({ kind: "exported" });
    expect(await send(change("delete", id, []))).toMatchObject({ kind: "exported" });
    expect(await bench.admin("GET", `/users/${person}`)).toMatchObject({ state: "active" });
  });
});

describe("an export of a user", () => {
  test("sets, changes and clears the manager, and adds and removes sponsors", async () => {
    const [one, two, worker] = await newUsers(3);
    const link = (name: string, before: readonly string[], after: readonly string[]) => {
      const of = (ids: readonly string[]) => (name === "manager" ? links(ids)?.[0] : links(ids));
      const [from, to] = [of(before), of(after)];
      return {
        name,
        ...(from === undefined ? {} : { before: from }),
        ...(to === undefined ? {} : { after: to }),
      };
    };
    const steps = [[], [one!], [two!], [], [one!, two!]] as const;
    for (const [index, after] of steps.entries()) {
      const before = steps[index - 1] ?? [];
      const attributes = [
        link("sponsors", before, after),
        ...(after.length > 1 ? [] : [link("manager", before, after)]),
      ];
      for (const _ of ["once", "again"])
        expect(await send(change("update", worker!, attributes, "user"))).toMatchObject({ kind: "exported" });
      const { manager = null, sponsors } = await bench.admin("GET", `/users/${worker}`);
      if (after.length < 2) expect(manager).toBe(after[0] ?? null);
      expect(sorted((sponsors ?? []) as string[])).toEqual(sorted(after));
    }
  });

  test("does not overwrite a manager whom somebody else has set", async () => {
    const [planned, byHand, worker] = await newUsers(3);
    await bench.admin("PATCH", `/users/${worker}`, { manager: byHand });
    const attributes = [{ name: "manager", after: reference(planned!) }];
    expect(await send(change("update", worker!, attributes, "user"))).toMatchObject({ code: "cd-error" });
    expect(await bench.admin("GET", `/users/${worker}`)).toMatchObject({ manager: byHand });
  });
});
