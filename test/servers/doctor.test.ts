import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type SambaServer, sambaAvailable, startSamba } from "../../sandbox/samba/samba.ts";
import { resetPassword } from "../../src/engine/connectors/ad/accessControl.ts";
import { AdConnector } from "../../src/engine/connectors/ad/adConnector.ts";
import { connectorPatients, type Examined, examineAll } from "../../src/engine/doctor.ts";
import type { Connector } from "../../src/engine/ports/connector.ts";
import { Administrator, adSettings, type DirectoryUnderTest } from "../support/activeDirectory.ts";
import { openGraph } from "../support/graph.ts";

const root = join(import.meta.dirname, "..", "..");
const available = sambaAvailable();

async function examined(connectors: Readonly<Record<string, Connector>>): Promise<Map<string, Examined>> {
  const found = new Map<string, Examined>();
  const patients = connectorPatients(new Map(Object.entries(connectors)));
  for await (const one of examineAll(patients, 20_000)) found.set(`${one.of} ${one.what}`, one);
  await Promise.all(Object.values(connectors).map((connector) => connector.close()));
  return found;
}
const statuses = (found: ReadonlyMap<string, Examined>) =>
  Object.fromEntries([...found].map(([name, { status }]) => [name, status]));

/** The bytes of a GUID as permissions have them. */
function guid(text: string): Buffer {
  const bytes = Buffer.from(text.replaceAll("-", ""), "hex");
  for (const [start, end] of [
    [0, 4],
    [4, 6],
    [6, 8],
  ] as const)
    bytes.subarray(start, end).reverse();
  return bytes;
}

/** Allows something to objects of a class below, and to nobody else. [MS-DTYP] 2.4.4.3 */
function inheritedEntry(sid: Buffer, mask: number, of: string | undefined, on: string): Buffer {
  const types = [...(of === undefined ? [] : [guid(of)]), guid(on)];
  const entry = Buffer.concat([Buffer.alloc(12), ...types, sid]);
  const [allowedObject, containerInheritInheritOnly] = [0x05, 0x0a];
  entry.writeUInt8(allowedObject, 0);
  entry.writeUInt8(containerInheritInheritOnly, 1);
  entry.writeUInt16LE(entry.length, 2);
  entry.writeUInt32LE(mask, 4);
  entry.writeUInt32LE(of === undefined ? 2 : 3, 8);
  return entry;
}

describe.skipIf(!available.ok)(available.ok ? "a domain" : `a domain: ${available.reason}`, () => {
  let samba: SambaServer;
  let directory: DirectoryUnderTest;
  beforeAll(async () => {
    const test = join(root, ".test");
    samba = await startSamba({
      dir: join(test, "doctor"),
      cacheDir: join(test, "samba-cache"),
      readDeleted: false,
    });
    await samba.reset();
    const { dn: bindDn, password: bindPassword } = samba.serviceAccount;
    directory = { ...samba, bindDn, bindPassword };
    const administrator = await Administrator.logOn(directory, readFileSync(samba.caFile, "utf8"));
    await administrator.addUser(`CN=first,${directory.guestOu}`, { sAMAccountName: "first" });
    await administrator.logOff();
  });
  afterAll(() => samba?.stop());

  const connect = (changes: Record<string, unknown> = {}, types: Readonly<Record<string, string[]>> = {}) => {
    const objectTypes = Object.entries({ user: ["displayName", "userAccountControl"], ...types }).map(
      ([name, attributes]) => ({ name, attributes }),
    );
    return new AdConnector({ name: "ADMA", objectTypes }, adSettings(directory, changes));
  };

  test("an account with what it needs and no more is well, but for what it does not see", async () => {
    const found = await examined({ ADMA: connect() });
    expect(statuses(found)).toEqual({
      "ADMA LDAPS": "ok",
      "ADMA logon": "ok",
      "ADMA OUs": "ok",
      "ADMA schema": "ok",
      [`ADMA rights on ${directory.guestOu}`]: "ok",
      "ADMA rights elsewhere": "ok",
      "ADMA Deleted Objects": "warning",
    });
    expect(found.get("ADMA Deleted Objects")?.remedy).toMatch(/dsacls/);
    expect(JSON.stringify([...found])).not.toContain(directory.bindPassword);
  });

  test("an administrator has rights that nobody needs", async () => {
    const found = await examined({
      ADMA: connect({ bindDn: directory.adminDn, bindPassword: directory.adminPassword }),
    });
    expect(statuses(found)).toMatchObject({
      [`ADMA rights on ${directory.guestOu}`]: "warning",
      "ADMA rights elsewhere": "warning",
      "ADMA Deleted Objects": "ok",
    });
    expect(found.get("ADMA rights elsewhere")?.message).toContain(directory.baseDn);
  });

  test("a right that is missing is named", async () => {
    const found = await examined({ ADMA: connect({}, { group: ["member"] }) });
    expect(found.get(`ADMA rights on ${directory.guestOu}`)).toMatchObject({
      status: "failed",
      message: expect.stringContaining("may not create group"),
      remedy: expect.stringContaining("Grant-VestibuleRights.ps1"),
    });
    const narrow = await examined({ ADMA: connect({}, { user: ["servicePrincipalName"] }) });
    expect(narrow.get(`ADMA rights on ${directory.guestOu}`)).toMatchObject({
      status: "warning",
      message: expect.stringContaining("may not write servicePrincipalName"),
    });
  });

  test("an OU without an object is proven too, and a right that is missing for objects to come is named", async () => {
    const empty = `OU=Empty,${directory.guestOu}`;
    const administrator = await Administrator.logOn(directory, readFileSync(samba.caFile, "utf8"));
    await administrator.addOu(empty);
    const rights = async (types?: Readonly<Record<string, string[]>>) =>
      (await examined({ ADMA: connect({ containers: [empty] }, types) })).get(`ADMA rights on ${empty}`);
    expect(await rights()).toMatchObject({
      status: "ok",
      message:
        "The account creates and deletes user there, writes their attributes, and resets their passwords.",
    });
    expect(await rights({ user: ["displayName", "servicePrincipalName"] })).toMatchObject({
      status: "warning",
      message: expect.stringContaining("may not write servicePrincipalName of"),
    });
    const withoutReset = (entries: Buffer[]) =>
      entries.filter((entry) => !entry.includes(guid(resetPassword)));
    await administrator.editPermissions(directory.guestOu, withoutReset);
    expect(await rights()).toMatchObject({
      status: "failed",
      message: "The account may not reset the password of user there.",
    });
    const sid = await administrator.sidOf(directory.bindDn);
    const childrenOfClass = (entry: Buffer) => entry.readUInt32LE(4) === 0x3 && entry.includes(sid);
    await administrator.editPermissions(directory.guestOu, (entries) =>
      entries.map((entry) => {
        if (!childrenOfClass(entry)) return entry;
        const createOnly = Buffer.from(entry);
        createOnly.writeUInt32LE(0x1, 4);
        return createOnly;
      }),
    );
    expect(await rights()).toMatchObject({
      status: "failed",
      message: "The account may not delete user, reset the password of user there.",
    });
    await administrator.logOff();
  });

  test.each([
    ["write attributes", 0x20, undefined],
    ["reset passwords", 0x100, resetPassword],
    ["delete", 0x40, undefined],
    ["read secrets", 0x100, "1131f6ad-9c07-11d1-f79f-00c04fc2dcd2"],
  ])("a right to %s that objects elsewhere inherit is found", async (power, mask, of) => {
    const elsewhere = `OU=May ${power},${directory.baseDn}`;
    const administrator = await Administrator.logOn(directory, readFileSync(samba.caFile, "utf8"));
    await administrator.addOu(elsewhere);
    const sid = await administrator.sidOf(directory.bindDn);
    await administrator.editPermissions(elsewhere, (entries) => [
      ...entries,
      inheritedEntry(sid, mask, of, "bf967aba-0de6-11d0-a285-00aa003049e2"),
    ]);
    const found = (await examined({ ADMA: connect() })).get("ADMA rights elsewhere");
    expect(found).toMatchObject({
      status: "warning",
      message: `The account has rights outside of its OUs, on ${elsewhere} (${power}).`,
    });
    await administrator.delete(elsewhere);
    await administrator.logOff();
  });

  test("the group that may not log on is looked at, and the global catalog", async () => {
    const group = `CN=Deny Logon,${directory.guestOu}`;
    const asked = (changes: Record<string, unknown>) => examined({ ADMA: connect(changes) });
    const nowhere = await asked({ denyLogonGroup: group, globalCatalogUrl: directory.url });
    expect(nowhere.get("ADMA deny-logon group")).toMatchObject({
      status: "failed",
      remedy: expect.stringContaining("DENY_LOGON_GROUP"),
    });
    expect(nowhere.get("ADMA global catalog")).toMatchObject({
      status: "failed",
      remedy: expect.stringContaining("3269"),
    });
    const administrator = await Administrator.logOn(directory, readFileSync(samba.caFile, "utf8"));
    await administrator.addGroup(group, []);
    expect((await asked({ denyLogonGroup: group })).get("ADMA deny-logon group")).toMatchObject({
      status: "failed",
      remedy: expect.stringContaining("-DenyLogonGroup"),
    });
    const powerful = {
      denyLogonGroup: group,
      bindDn: directory.adminDn,
      bindPassword: directory.adminPassword,
    };
    expect((await asked(powerful)).get("ADMA deny-logon group")).toMatchObject({
      status: "warning",
      message: expect.stringContaining("1 accounts"),
    });
    await administrator.replace(group, "member", `CN=first,${directory.guestOu}`);
    await administrator.logOff();
    const globalCatalogUrl = directory.url.replace(":636", ":3269");
    const well = await asked({ ...powerful, globalCatalogUrl });
    expect(well.get("ADMA deny-logon group")?.status).toBe("ok");
    expect(well.get("ADMA global catalog")?.status).toBe("ok");
  });

  test.each([
    [{ bindPassword: "wrong" }, "ADMA logon", /AD_BIND_PASSWORD/],
    [{ serverName: "elsewhere.example" }, "ADMA LDAPS", /AD_SERVER_NAME/],
    [{ url: "ldaps://127.0.0.1:1" }, "ADMA LDAPS", /AD_URL/],
    [{ caCertificate: undefined }, "ADMA LDAPS", /AD_CA_CERTIFICATE/],
  ])("with %j it fails and says what to mend", async (changes, name, message) => {
    const found = await examined({ ADMA: connect(changes) });
    expect(found.get(name)).toMatchObject({ status: "failed", message: expect.stringMatching(message) });
  });
});

describe("a tenant", () => {
  test("answers every kind of read, and no user comes from our OUs", async () => {
    const bench = await openGraph({ guests: 2, members: 3 });
    const ours: Pick<Connector, "containers"> = { containers: ["OU=Guests,DC=corp,DC=example"] };
    const others = { ...ours, examine: async function* () {}, close: async () => {} } as unknown as Connector;
    const well = await examined({ AADMA: bench.connect(), ADMA: others });
    expect(new Set(Object.values(statuses(well)))).toEqual(new Set(["ok"]));
    expect(well.size).toBe(5);

    const { users } = await bench.admin("GET", "/users?userType=Member&top=1");
    const [{ id }] = users as [{ id: string }];
    await bench.admin("PATCH", `/users/${id}`, {
      onPremisesSyncEnabled: true,
      onPremisesDistinguishedName: "CN=ann,OU=Guests,DC=corp,DC=example",
    });
    const synchronised = await examined({ AADMA: bench.connect(), ADMA: others });
    expect(synchronised.get("AADMA Entra Connect")).toMatchObject({
      status: "failed",
      message: expect.stringContaining(id),
      remedy: expect.stringContaining("OU filtering"),
    });
    const refused = await examined({ AADMA: bench.connect({ accessToken: "wrong" }) });
    expect(refused.get("AADMA Graph users")?.status).toBe("failed");
    await bench.close();
  });
});

test("the command says what is wrong with the settings, one line each, and ends with 1", async () => {
  const environment = { PATH: process.env.PATH, CYCLE_SCHEDULE: "hourly" };
  const { code, out } = await new Promise<{ code: unknown; out: string }>((resolve) => {
    const command = ["cli/vestibule.ts", "doctor", "--config", "config"];
    execFile(process.execPath, command, { cwd: root, env: environment }, (error, stdout) =>
      resolve({ code: error?.code ?? 0, out: stdout }),
    );
  });
  expect(code).toBe(1);
  for (const line of [
    /FAILED {2}settings: app settings: Storage is missing/,
    /CYCLE_SCHEDULE/,
    /AD_BIND_DN is not set/,
  ]) {
    expect(out).toMatch(line);
  }
});
