/**
 * The tables are lost, or restored from a week ago, while the directory (Samba) is full: the engine finds everything
 * again by its first cycle and writes to no account that is right already. An administrator does nothing for it.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type SambaServer, sambaAvailable } from "../../sandbox/samba/samba.ts";
import type { Run } from "../../src/engine/stores/runs.ts";
import { startTestSamba } from "../support/chain.ts";
import { CountedTables } from "../support/engineWorld.ts";
import { type GraphUser, Home } from "../support/guestHome.ts";

const samba = sambaAvailable();
const skip = samba.ok ? false : samba.reason;
const weekMs = 7 * 86_400_000;

describe.skipIf(skip)(`a full directory and tables that are${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let server: SambaServer;
  let home: Home;
  let guests: GraphUser[];

  beforeAll(async () => {
    server = await startTestSamba("lost-tables");
    const { dn: bindDn, password: bindPassword } = server.serviceAccount;
    home = await Home.open({ directory: { ...server, bindDn, bindPassword } });
    guests = await invited(24);
    await home.graph("POST", `/users/${guests[0]!.id}/block`);
    await home.cycle();
    await home.graph("DELETE", `/users/${guests[1]!.id}`);
    await home.cycle();
  });
  afterAll(async () => {
    await home?.close();
    await server?.stop();
  });

  /** Guests who have accepted, but for the first. */
  async function invited(count: number): Promise<GraphUser[]> {
    const all: GraphUser[] = [];
    for (let number = 0; number < count; number++) all.push(await home.invite());
    for (const { id } of all.slice(1)) await home.graph("POST", `/users/${id}/accept`);
    return all;
  }

  /** Every account with all its values, `uSNChanged` among them, so that the smallest write shows. */
  const directory = () => home.administrator.everything(home.directory.guestOu);
  const exported = ({ steps }: Run) =>
    steps.filter(({ type }) => type === "export").map(({ statistics }) => statistics);

  test("empty: the first cycle, an initial one, meets every account again and writes to none", async () => {
    const before = await directory();
    home.world.restore(new CountedTables());
    await home.world.engine.onTimer();
    await home.world.settle();
    const run = await home.world.lastRun();
    expect([run.cycle, run.status, exported(run)]).toEqual(["initial", "success", [{}]]);
    expect(await directory()).toEqual(before);
    expect(await home.world.outstanding()).toEqual([]);

    await home.graph("PATCH", `/users/${guests[2]!.id}`, { displayName: "Known Again" });
    const next = await home.world.cycle("delta");
    expect([next.status, exported(next)]).toEqual(["success", [{ exportUpdate: 1 }]]);
    expect((await home.account(guests[2]!.id))!.displayName).toEqual(["Known Again"]);
    expect(await directory()).toHaveProperty("size", before.size);
  });

  test("a week old: new guests' accounts are met, not made again; nobody is disabled or deleted", async () => {
    const old = await home.world.tables.copy();
    const [first, ...others] = await invited(3);
    await home.graph("PATCH", `/users/${guests[3]!.id}`, { displayName: "Renamed This Week" });
    await home.graph("POST", `/users/${guests[4]!.id}/block`);
    await home.cycle();
    await home.graph("POST", `/users/${first!.id}/accept`);
    await home.graph("POST", `/users/${guests[4]!.id}/unblock`);
    await home.cycle();
    const before = await directory();
    for (const { id } of [first!, ...others])
      expect((await home.account(id))!.userAccountControl).toEqual(["262656"]);

    home.world.now += weekMs;
    // So old is the delta token of Graph, too, that it is no longer taken.
    await home.graph("POST", "/tokens/expire", { answer: "expired" });
    home.world.restore(old);
    const run = await home.world.cycle("delta");
    expect([run.status, exported(run)]).toEqual(["success", [{}]]);
    expect(await directory()).toEqual(before);
    const again = await home.world.cycle("initial");
    expect([again.status, exported(again)]).toEqual(["success", [{}]]);
    expect(await directory()).toEqual(before);
    expect(await home.world.outstanding()).toEqual([]);
  });
});
