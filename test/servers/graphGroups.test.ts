/** A connector that is limited to the members of groups, against the Graph sandbox. */
import { afterEach, describe, expect, test } from "vitest";
import type { ImportEntry } from "../../src/engine/ports/connector.ts";
import { type GraphBench, importAll, openGraph } from "../support/graph.ts";

let bench: GraphBench;
afterEach(() => bench.close());

interface User {
  readonly id: string;
  readonly userType: string;
}

const full = { kind: "full" } as const;
const found = (entries: ReadonlyMap<string, ImportEntry>) =>
  [...entries.values()].flatMap(({ kind, anchor }) => (kind === "object" ? [anchor!] : [])).sort();

async function users(userType: string): Promise<string[]> {
  const { users: listed } = await bench.admin("GET", `/users?userType=${userType}`);
  return (listed as User[]).map(({ id }) => id);
}

async function group(...members: string[]): Promise<string> {
  return String((await bench.admin("POST", "/groups", { members })).id);
}

describe("a connector limited to groups", () => {
  test("imports the guests among their members, those of nested groups too, and each once", async () => {
    bench = await openGraph();
    const [first, second, third, fourth] = (await users("Guest")) as [string, string, string, string];
    const [employee] = (await users("Member")) as [string];
    const inner = await group(second, third);
    const outer = await group(first, inner, employee);
    const other = await group(third, fourth);
    await bench.admin("POST", `/groups/${inner}/members`, { id: outer }); // a circle is allowed

    const all = await importAll(bench.connect({ groups: [outer, other] }), full, bench.context);
    expect(found(all.entries)).toEqual([first, second, third, fourth].sort());
    expect(all.complete.sourceCount).toBeUndefined();
    const straight = await importAll(
      bench.connect({ groups: [outer], transitiveMembers: false }),
      full,
      bench.context,
    );
    expect(found(straight.entries)).toEqual([first]);
  });

  test("reads more members than a page holds", async () => {
    bench = await openGraph({ guests: 1200 });
    const guests = await users("Guest");
    const limited = bench.connect({ groups: [await group(...guests.slice(0, 1100))] });
    const { entries } = await importAll(limited, full, bench.context);
    expect(found(entries)).toEqual(guests.slice(0, 1100).sort());
  });

  test("sees changes of its members by delta, and of others nothing but that they are not allowed", async () => {
    bench = await openGraph();
    const [member, stranger] = (await users("Guest")) as [string, string];
    const limited = bench.connect({ groups: [await group(member)] });
    const { complete } = await importAll(limited, full, bench.context);
    for (const id of [member, stranger]) await bench.admin("PATCH", `/users/${id}`, { displayName: "New" });
    const start = { kind: "delta", watermark: complete.watermark } as const;
    const { entries } = await importAll(limited, start, bench.context);
    expect(found(entries)).toEqual([member]);
    expect(entries.get(stranger)).toEqual({ kind: "absent", anchor: stranger, absence: "notAllowed" });
  });

  test.each([
    ["joins", "POST"],
    ["leaves", "DELETE"],
  ])("asks for a full import when somebody %s, for no delta round tells it", async (_, method) => {
    bench = await openGraph();
    const [member, other] = (await users("Guest")) as [string, string];
    const id = await group(member, ...(method === "DELETE" ? [other] : []));
    const limited = bench.connect({ groups: [id] });
    const { complete } = await importAll(limited, full, bench.context);
    await bench.admin(method, `/groups/${id}/members`, { id: other });
    const start = { kind: "delta", watermark: complete.watermark } as const;
    await expect(importAll(limited, start, bench.context)).rejects.toMatchObject({
      kind: "watermark-expired",
    });
    const again = await importAll(limited, full, bench.context);
    expect(found(again.entries)).toEqual(method === "POST" ? [member, other].sort() : [member]);
    await importAll(limited, { kind: "delta", watermark: again.complete.watermark }, bench.context);
  });

  test("tells by a direct look who was removed, who became a member, who is deleted, and who is still there", async () => {
    bench = await openGraph();
    const [stays, removed, member, deleted] = (await users("Guest")) as [string, string, string, string];
    const inner = await group(stays);
    const limited = bench.connect({ groups: [await group(inner, member, deleted)] });
    await bench.admin("PATCH", `/users/${member}`, { userType: "Member" });
    await bench.admin("DELETE", `/users/${deleted}`);
    const verdicts = await limited.readAbsent([stays, removed, member, deleted], bench.context);
    expect(verdicts).toMatchObject([
      { kind: "present" },
      { kind: "gone", absence: "notAllowed" },
      { kind: "gone", absence: "outOfScope" },
      { kind: "gone", absence: "softDeleted" },
    ]);
  });

  test("does not take a group that is not there for an empty one", async () => {
    bench = await openGraph();
    const missing = "00000000-0000-4000-8000-000000000001";
    const limited = bench.connect({ groups: [missing, await group()] });
    await expect(importAll(limited, full, bench.context)).rejects.toMatchObject({
      kind: "configuration",
      message: expect.stringContaining(missing),
    });
  });

  test("expects a full import when groups begin to limit it, or others do", async () => {
    bench = await openGraph();
    const [one, two] = [await group(), await group()];
    const hashes = [[], [one], [two], [one, two]].map((groups) => bench.connect({ groups }).scopeHash);
    expect(new Set(hashes).size).toBe(4);
    expect(bench.connect({ groups: [two, one] }).scopeHash).toBe(hashes[3]);
    const { complete } = await importAll(bench.connector, full, bench.context);
    const start = { kind: "delta", watermark: complete.watermark } as const;
    await expect(importAll(bench.connect({ groups: [one] }), start, bench.context)).rejects.toMatchObject({
      kind: "watermark-expired",
    });
  });
});
