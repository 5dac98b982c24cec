import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type SambaServer, sambaAvailable } from "../../sandbox/samba/samba.ts";
import { Administrator } from "../support/activeDirectory.ts";
import { Chain, counted, startTestSamba } from "../support/chain.ts";

const samba = sambaAvailable();
const skip = samba.ok ? false : samba.reason;

interface GraphUser {
  readonly id: string;
  readonly displayName: string | null;
  readonly userPrincipalName: string;
}
interface Item {
  readonly id: string;
  readonly anchor: string;
  readonly dn: string;
  readonly state: string;
}
interface List<T> {
  readonly items: readonly T[];
}

const only = (run: Parameters<typeof counted>[0], connector: string, type: string) =>
  counted(run)
    .filter(([name, kind]) => name === connector && kind === type)
    .map(([, , statistics]) => statistics);

describe.skipIf(skip)(`guests become accounts in Samba${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let server: SambaServer;
  let chain: Chain;
  let admin: Administrator;
  let ca: string;

  beforeAll(async () => {
    server = await startTestSamba("chain");
    ca = readFileSync(server.caFile, "utf8");
    admin = await Administrator.logOn(
      { ...server, bindDn: server.serviceAccount.dn, bindPassword: server.serviceAccount.password },
      ca,
    );
    chain = await Chain.start({ guests: 40, samba: server, name: "chain" });
  });
  afterAll(async () => {
    await chain?.stop();
    await admin?.logOff();
    await server?.stop();
  });

  const guests = async () =>
    (await chain.graph<{ users: GraphUser[] }>("GET", "/users?userType=Guest&top=999")).users;
  const dnOf = (id: string) => `CN=${id},${server.guestOu}`;
  const account = async (id: string) => (await admin.read(dnOf(id)))!;

  test("the first cycle gives every guest exactly one account, right in every attribute", async () => {
    const run = await chain.cycle("initial");
    expect(run.status).toBe("success");
    expect(only(run, "AADMA", "fullImport")).toEqual([{ stageAdd: 40 }]);
    expect(only(run, "ADMA", "export")).toEqual([{ exportAdd: 40 }]);
    expect(await chain.verify()).toEqual({ guests: 40, right: 40, problems: [] });
    const pending = await chain.api<{ pendingExports: object; pendingImports: object }>("/connectors/ADMA");
    expect(pending).toMatchObject({
      pendingExports: { add: 0, update: 0, delete: 0 },
      pendingImports: { add: 0, update: 0, delete: 0 },
    });
  });

  test("nobody can log on with a password, and none is stored", async () => {
    const [guest] = await guests();
    const { userPrincipalName } = await account(guest!.id);
    for (const password of ["", "Password1!", guest!.id, userPrincipalName![0]!]) {
      expect(await admin.canBind(dnOf(guest!.id), password, ca)).toBe(false);
    }
    const [item] = (
      await chain.api<List<Item>>(`/connectors/ADMA/objects?dn=${encodeURIComponent(dnOf(guest!.id))}`)
    ).items;
    const tower = JSON.stringify(await chain.api(`/connectors/ADMA/objects/${item!.anchor}`));
    expect(tower).toContain(userPrincipalName![0]);
    expect(tower.toLowerCase()).not.toContain("pwd");
  });

  test("another cycle exports nothing, delta or full", async () => {
    for (const cycle of ["delta", "initial"] as const) {
      const run = await chain.cycle(cycle);
      expect(run.status).toBe("success");
      expect(only(run, "ADMA", "export")).toEqual([{}]);
    }
  });

  test("a guest renamed and a guest added change exactly those accounts", async () => {
    const before = await guests();
    const renamed = before[3]!;
    await chain.graph("PATCH", `/users/${renamed.id}`, {
      displayName: 'Renamed, "Guest" Ümlaut',
      givenName: null,
    });
    const added = await chain.graph<GraphUser>("POST", "/guests", {
      displayName: "New Guest",
      givenName: "New",
      surname: "Guest",
      mail: "new.guest@fabrikam.example",
    });
    const run = await chain.cycle("delta");
    expect(run.status).toBe("success");
    expect(only(run, "AADMA", "deltaImport")).toEqual([{ stageAdd: 1, stageUpdate: 1 }]);
    expect(only(run, "ADMA", "export")).toEqual([{ exportAdd: 1, exportUpdate: 1 }]);
    expect((await account(renamed.id)).displayName).toEqual(['Renamed, "Guest" Ümlaut']);
    expect((await account(renamed.id)).givenName).toBeUndefined();
    expect(JSON.stringify(added)).toContain("New Guest");
    expect(await chain.verify()).toEqual({ guests: 41, right: 41, problems: [] });
  });

  test("an account that somebody made by hand in the organisational unit is a disconnector, and is left alone", async () => {
    const dn = `CN=By Hand,${server.guestOu}`;
    const guid = await admin.addUser(dn, {
      sAMAccountName: "byhand",
      displayName: "By Hand",
      userAccountControl: "514",
    });
    const before = await admin.read(dn);
    const run = await chain.cycle("delta");
    expect(only(run, "ADMA", "export")).toEqual([{}]);
    const found = await chain.api<List<Item>>("/connectors/ADMA/objects?state=disconnector");
    expect(found.items.map(({ anchor, dn: at }) => [anchor, at])).toEqual([[guid, dn]]);
    expect(await admin.read(dn)).toEqual(before);
  });

  test("a guest who is blocked is disabled, one who is deleted too with the reason, and comes back with the same SID", async () => {
    const [blocked, deleted] = (await guests()).filter((_, index) => index % 3 === 0);
    await chain.graph("POST", `/users/${blocked!.id}/accept`);
    await chain.graph("POST", `/users/${deleted!.id}/accept`);
    await chain.graph("PATCH", `/users/${deleted!.id}`, { accountEnabled: true });
    await chain.cycle("delta");
    const before = await account(deleted!.id);
    expect(before.userAccountControl).toEqual(["262656"]);

    await chain.graph("POST", `/users/${blocked!.id}/block`);
    await chain.graph("DELETE", `/users/${deleted!.id}`);
    const run = await chain.cycle("delta");
    expect(run.status).toBe("success");
    expect((await account(blocked!.id)).userAccountControl).toEqual(["262658"]);
    const gone = await account(deleted!.id);
    expect(gone.userAccountControl).toEqual(["262658"]);
    expect(gone.info?.[0]).toMatch(/^Disabled: the guest is absent \(softDeleted\) since /);

    await chain.graph("POST", `/users/${deleted!.id}/restore`);
    await chain.cycle("delta");
    const back = await account(deleted!.id);
    expect(back).toMatchObject({
      userAccountControl: ["262656"],
      objectSid: before.objectSid,
      userPrincipalName: before.userPrincipalName,
    });
    expect(back.info).toBeUndefined();
  });

  test("a hand-made change in the directory is put right by the next cycle", async () => {
    const [, , guest] = await guests();
    await admin.replace(dnOf(guest!.id), "displayName", "Somebody Else");
    const run = await chain.cycle("delta");
    expect(only(run, "ADMA", "export")).toEqual([{ exportUpdate: 1 }]);
    expect((await account(guest!.id)).displayName).toEqual([guest!.displayName]);
  });

  test("more than a tenth disabled at once is held; approved by its hash, exactly that is done", async () => {
    interface Plan {
      readonly hash: string;
      readonly state: string;
      readonly counts: Readonly<Record<string, number>>;
      readonly items: readonly { readonly dn: string; readonly change: string }[];
    }
    const plan = () => chain.api<Plan>("/connectors/ADMA/export-plan");
    const all = await guests();
    for (const { id } of all) await chain.graph("PATCH", `/users/${id}`, { accountEnabled: true });
    for (const { id } of all) await chain.graph("POST", `/users/${id}/accept`);
    await chain.cycle("delta");
    const chosen = all.slice(-6);
    for (const { id } of chosen) await chain.graph("POST", `/users/${id}/block`);
    const run = await chain.cycle("delta");
    expect(run).toMatchObject({ status: "stopped-disable-threshold-exceeded", endedAt: expect.any(String) });
    const enabled = async () =>
      (await Promise.all(chosen.map(({ id }) => account(id)))).filter(
        ({ userAccountControl }) => userAccountControl![0] === "262656",
      ).length;
    expect(await enabled()).toBe(6);
    const held = await plan();
    expect(held).toMatchObject({ state: "held", counts: { disable: 6 } });
    expect(held.items.map(({ dn }) => dn).sort()).toEqual(chosen.map(({ id }) => dnOf(id)).sort());
    const approved = await chain.api<{ id: string }>("/connectors/ADMA/export-plan/approve", {
      method: "POST",
      body: JSON.stringify({ hash: held.hash, why: "Their contract has ended." }),
    });
    expect(await chain.ended(approved.id)).toMatchObject({
      status: "success",
      approval: { hash: held.hash, why: "Their contract has ended." },
    });
    expect(await enabled()).toBe(0);
    expect((await chain.cycle("delta")).status).toBe("success");
    expect(await plan()).toMatchObject({ state: "done", items: [] });
  });
});
