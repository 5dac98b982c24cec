/** The tables of docs/guest-life.md, row by row, and what else a guest's life is promised to be. */
import { readFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { type SambaServer, sambaAvailable } from "../../sandbox/samba/samba.ts";
import { Queries } from "../../src/engine/queries.ts";
import type { DirectoryUnderTest } from "../support/activeDirectory.ts";
import { startTestSamba } from "../support/chain.ts";
import { type Account, expectAccount, Home, type HomeOptions, Life } from "../support/guestHome.ts";

const [withoutGroup, withGroup] = tablesOf(readFileSync("docs/guest-life.md", "utf8"));

/** Rows of [events, account], table by table. */
function tablesOf(markdown: string): [string, string][][] {
  return [...markdown.matchAll(/^\| What happens.*\n\|[-|]+\n((?:\|.*\n)+)/gm)].map(([, rows]) =>
    rows!
      .trim()
      .split("\n")
      .map((row) => {
        const [, events, account] = row.split("|").map((cell) => cell.trim());
        return [events!, account!];
      }),
  );
}

type Row = readonly [events: string, account: string];

/** Rows of the document, executed in that directory. */
function lives(rows: readonly Row[], options: () => HomeOptions): void {
  let home: Home;
  beforeAll(async () => {
    home = await Home.open(options());
  });
  afterEach(() => home.empty());
  afterAll(() => home?.close());

  test.each(rows)("%s: %s", async (events, account) => {
    const life = new Life(home);
    await life.live(events);
    await expectAccount(life, account);
    expect(await home.world.outstanding()).toEqual([]);
  });
}

describe("the guest's life as delivered", () => lives(withoutGroup!, () => ({})));
describe("the guest's life limited to a group", () => lives(withGroup!, () => ({ isLimited: true })));

const samba = sambaAvailable();
const skip = samba.ok ? false : samba.reason;
describe.skipIf(skip)(`the guest's life with Samba${skip ? ` (skipped: ${skip})` : ""}`, () => {
  let server: SambaServer;
  let directory: DirectoryUnderTest;
  beforeAll(async () => {
    server = await startTestSamba("chain");
    const { dn: bindDn, password: bindPassword } = server.serviceAccount;
    directory = { ...server, bindDn, bindPassword };
  });
  afterAll(() => server?.stop());

  // What the directory itself decides: SIDs, unique names, DNs, deleted objects.
  const events = [
    "soft-deleted, 29 days, restored",
    "soft-deleted, 31 days",
    "turned member, turned guest",
    "soft-deleted and re-invited",
    "soft-deleted and re-invited, second deleted and restored",
    "disabled by hand, blocked, unblocked",
    "blocked, enabled by hand",
    "deleted by hand",
    "moved by hand, renamed",
  ].map((event) => `invited and accepted, ${event}`);
  const rows = withoutGroup!.filter(([cell]) => events.includes(cell));
  expect(rows).toHaveLength(events.length);
  describe("by the table", () => lives(rows, () => ({ directory })));

  test("a rename in Entra changes the names of that account, and nothing else of any", async () => {
    const home = await Home.open({ directory });
    const [life, other] = [new Life(home), new Life(home)];
    await other.live("invited and accepted");
    await life.live("invited and accepted");
    await life.live("renamed");
    const changed = (before: Account, after: Account) =>
      Object.keys({ ...before, ...after }).filter((name) => String(before[name]) !== String(after[name]));
    expect(changed(life.before!, life.now!).sort()).toEqual(
      [...["displayName", "givenName", "uSNChanged", "whenChanged"]].filter(
        (name) => name !== "whenChanged" || changed(life.before!, life.now!).includes(name),
      ),
    );
    expect(changed(other.now!, (await home.account(other.guest.id))!)).toEqual([]);
    await home.empty();
    await home.close();
  });

  test("a hand-made disable is undone where the connector does not keep it", async () => {
    const home = await Home.open({ directory, keepHandMadeDisable: false });
    const life = new Life(home);
    await life.live("invited and accepted, disabled by hand");
    await expectAccount(life, "enabled, same SID");
    await home.empty();
    await home.close();
  });

  test("a hand-made disable that is kept is shown as held, and other hand-made values are put right", async () => {
    const home = await Home.open({ directory });
    const life = new Life(home);
    await life.live("invited and accepted, disabled by hand");
    const [found] = await home.world.engine.connectorSpace.findByDn("ADMA", life.now!.dn![0]!);
    expect(await new Queries(home.world.engine).object("ADMA", found!.object.id)).toMatchObject({
      held: ["userAccountControl"],
    });
    await home.administrator.replace(life.now!.dn![0]!, "displayName", "Somebody Else");
    await life.live("accepted");
    await expectAccount(life, "disabled, display name as before");
    await home.empty();
    await home.close();
  });

  test("accounts of nobody are disabled after their grace and deleted after the next; an owner gets his back", async () => {
    const day = 86_400_000;
    const home = await Home.open({
      directory,
      orphans: { disableAfterMs: 7 * day, deleteAfterMs: 30 * day },
    });
    const life = new Life(home);
    await life.live("invited and accepted");
    // Who is to come has an account of somebody else's making already.
    const { id } = await home.invite();
    await home.graph("POST", `/users/${id}/accept`);
    await home.graph("DELETE", `/users/${id}`);
    const [left, owned] = ["CN=left", `CN=${id}`].map((name) => `${name},${directory.guestOu}`);
    const attributes = { userAccountControl: "544", description: "By hand." };
    await home.administrator.addUser(left!, { ...attributes, sAMAccountName: "left" });
    await home.administrator.addUser(owned!, { ...attributes, sAMAccountName: id.slice(0, 20) });
    await home.cycle();
    const before = await home.administrator.read(owned!);
    home.world.now += 8 * day;
    await home.cycle();
    for (const dn of [left!, owned!])
      expect(await home.administrator.read(dn)).toMatchObject({
        userAccountControl: ["546"],
        description: ["By hand."],
      });
    await home.graph("POST", `/users/${id}/restore`);
    await home.cycle();
    const after = await home.administrator.read(owned!);
    expect(after).toMatchObject({ objectSid: before!.objectSid, adminDescription: [`User_${id}`] });
    expect(Number(after!.userAccountControl![0]) & 2).toBe(0);
    home.world.now += 31 * day;
    await home.cycle();
    expect(await home.administrator.read(left!)).toBeUndefined();
    expect(await home.account(id)).toBeDefined();
    await home.cycle();
    expect(await home.world.outstanding()).toEqual([]);
    await home.empty();
    await home.close();
  });

  test("when Graph loses all guests, or shows none, nothing changes in the directory", async () => {
    const home = await Home.open({ directory });
    const ids: string[] = [];
    for (let number = 0; number < 22; number++) {
      const { id } = await home.invite();
      ids.push(id);
      if (number % 2 === 0) await home.graph("POST", `/users/${id}/accept`);
    }
    await home.world.cycle("initial");
    const everyone = () => Promise.all(ids.map((id) => home.account(id)));
    const before = await everyone();
    expect(before.filter((account) => account === undefined)).toEqual([]);

    // The listing itself; what counts them begins otherwise.
    const listing = "/v1.0/users?$filter=userType%20eq%20%27Guest%27&$select";
    await home.graph("POST", "/faults", [{ pathPattern: listing, status: 200, body: { value: [] } }]);
    const empty = await home.world.cycle("initial");
    expect(empty.status).toBe("completed-discovery-errors");
    expect(await everyone()).toEqual(before);
    await home.graph("DELETE", "/faults");
    expect((await home.world.cycle("initial")).status).toBe("success");

    for (const id of ids) await home.graph("POST", `/users/${id}/purge`);
    // A delta tells of each of them; a full import finds them gone.
    for (const cycle of ["delta", "delta", "initial"] as const) {
      expect((await home.world.cycle(cycle)).status).toMatch(/threshold-exceeded|discovery-errors|accept/);
      expect(await everyone()).toEqual(before);
    }
    await home.close();
  });
});

test("a returning guest whose UPN somebody else has by now is an error that names the holder, until it is free", async () => {
  const home = await Home.open();
  const life = new Life(home);
  await life.live("invited and accepted, soft-deleted");
  const dn = `CN=Holder,${home.directory.guestOu}`;
  const { userPrincipalName } = life.guest;
  await home.administrator.addUser(dn, { sAMAccountName: "holder", userPrincipalName });
  await home.graph("POST", `/users/${life.guest.id}/restore`);
  const run = await home.world.cycle("delta");
  // The holder is somebody whom the join by UPN finds: that is said too, and nobody is connected twice.
  expect(run.steps.map(({ status }) => status).slice(3, 5)).toEqual([
    "completed-sync-errors",
    "completed-export-errors",
  ]);
  expect(await home.world.engine.history.errors(run.id, 4, 10)).toMatchObject([
    { code: "cd-existing-object", message: expect.stringContaining(dn) },
  ]);
  expect(await home.administrator.read(dn)).toMatchObject({ userPrincipalName: [userPrincipalName] });

  await home.administrator.delete(dn);
  await life.live("accepted");
  await expectAccount(life, "enabled, same SID, same UPN, no reason");
  await home.close();
});

test("every event of the guest's life that the product promises is in the table", () => {
  const events = new Set([...withoutGroup!, ...withGroup!].flatMap(([cell]) => cell.split(/, | and /)));
  const promised = ["invited", "accepted", "blocked", "unblocked", "soft-deleted", "restored", "purged"];
  const more = [
    "turned member",
    "turned guest",
    "renamed",
    "new mail",
    "re-invited",
    "removed from the group",
  ];
  expect([...promised, ...more].filter((event) => !events.has(event))).toEqual([]);
});
