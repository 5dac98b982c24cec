/**
 * What our connector relies on in Active Directory, asked of the directory sandbox and of a Samba domain
 * controller alike. Samba is the authority: where an expectation differs, `windows` says that the sandbox
 * follows Windows there, which is stricter than Samba.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Client, EqualityFilter } from "ldapts";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { DirectorySandbox } from "../../sandbox/directory/sandbox.ts";
import { sambaAvailable, startSamba } from "../../sandbox/samba/samba.ts";
import {
  change,
  codeOf,
  connect,
  DirSyncControl,
  oid,
  PlainControl,
  quoted,
  type RawSearch,
  read,
  search,
} from "../support/ldap.ts";

interface Server {
  readonly url: string;
  readonly ca: string;
  readonly serverName: string;
  readonly baseDn: string;
  readonly guestOu: string;
  readonly bindDn: string;
  readonly bindPassword: string;
  readonly adminDn: string;
  readonly adminPassword: string;
  stop(): Promise<void>;
}

async function sandbox(readDeleted: boolean): Promise<Server> {
  const started = await DirectorySandbox.start({ readDeleted });
  const { url, ca, serverName, baseDn, guestOu, bindDn, bindPassword, adminDn, adminPassword } = started;
  const stop = () => started.close();
  return { url, ca, serverName, baseDn, guestOu, bindDn, bindPassword, adminDn, adminPassword, stop };
}

async function samba(readDeleted: boolean): Promise<Server> {
  const state = join(import.meta.dirname, "../../.test");
  const name = readDeleted ? "samba-behaviour" : "samba-behaviour-blind";
  const started = await startSamba({
    dir: join(state, name),
    cacheDir: join(state, "samba-cache"),
    readDeleted,
  });
  await started.reset();
  return {
    ...started,
    ca: readFileSync(started.caFile, "utf8"),
    bindDn: started.serviceAccount.dn,
    bindPassword: started.serviceAccount.password,
    stop: () => started.stop(),
  };
}

const available = sambaAvailable();
const servers = [
  { name: "directory sandbox", start: sandbox, windows: true, skip: false },
  {
    name: available.ok ? "Samba" : `Samba (${available.reason})`,
    start: samba,
    windows: false,
    skip: !available.ok,
  },
];

const disabled = "514";
const password = "Correct-Horse-42";

for (const { name, start, windows, skip } of servers) {
  describe.skipIf(skip)(name, () => {
    let server: Server;
    let admin: Client;
    let service: Client;
    let made = 0;

    beforeAll(async () => {
      server = await start(true);
      admin = await connect(server, server.adminDn, server.adminPassword);
      service = await connect(server, server.bindDn, server.bindPassword);
    });
    afterAll(async () => {
      await admin?.unbind();
      await service?.unbind();
      await server?.stop();
    });

    /** Adds a user as the service account. @returns its DN */
    async function user(attributes: Record<string, string | string[] | Buffer[]> = {}, cn = `u${++made}`) {
      const dn = `CN=${cn},${server.guestOu}`;
      await service.add(dn, {
        objectClass: "user",
        sAMAccountName: `u${++made}`,
        userAccountControl: disabled,
        ...(attributes as Record<string, string>),
      });
      return dn;
    }
    const found = async (base: string, options: RawSearch = {}, client = service) => {
      const { entries } = await search(client, base, { attributes: ["cn"], ...options });
      return entries.map(({ attributes }) => attributes.cn?.[0]?.toString());
    };
    const guid = async (dn: string) => {
      const { entries } = await search(service, dn, { scope: "base", attributes: ["objectGUID"] });
      return entries[0]!.attributes.objectGUID![0]!;
    };
    const guidText = (bytes: Buffer) => {
      const swapped = Buffer.from(bytes);
      swapped.subarray(0, 4).reverse();
      swapped.subarray(4, 6).reverse();
      swapped.subarray(6, 8).reverse();
      return swapped.toString("hex").replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
    };
    const usn = async () => Number((await read(service, "", "highestCommittedUSN"))[0]);

    describe("binding", () => {
      const bind = async (who: string, secret: string) => {
        const client = new Client({
          url: server.url,
          tlsOptions: { ca: server.ca, servername: server.serverName },
        });
        try {
          await client.bind(who, secret);
          return "bound";
        } catch (error) {
          const { code, message } = error as { code: number; message: string };
          return `${code} ${/data (\w+)/.exec(message)?.[1] ?? ""}`.trim();
        } finally {
          await client.unbind();
        }
      };

      test("an account binds by DN, user principal name and domain name", async () => {
        const domain = server.baseDn.split(/,?DC=/)[1]!.toUpperCase();
        const realm = server.baseDn.slice(3).replaceAll(",DC=", ".");
        for (const who of [server.adminDn, `Administrator@${realm}`, `${domain}\\Administrator`]) {
          expect(await bind(who, server.adminPassword)).toBe("bound");
        }
      });

      test("refusals say why with code 49", async () => {
        const enabled = await user({ userAccountControl: "512", unicodePwd: [quoted(password)] });
        expect(await bind(enabled, password)).toBe("bound");
        expect(await bind(enabled, "wrong")).toBe("49 52e");
        expect(await bind(`CN=nobody,${server.guestOu}`, "wrong")).toBe("49 52e");
        await service.modify(enabled, change("replace", "pwdLastSet", "0"));
        expect(await bind(enabled, password)).toBe("49 773");
        await service.modify(enabled, [
          change("replace", "pwdLastSet", "-1"),
          change("replace", "userAccountControl", disabled),
        ]);
        expect(await bind(enabled, password)).toBe("49 533");
      });

      test("an empty password is refused", async () => {
        expect(await bind(server.adminDn, "")).toMatch(/^49/);
      });

      test("an account that requires a smart card cannot be bound with its password", async () => {
        const dn = await user({ userAccountControl: "262656", unicodePwd: [quoted(password)] });
        expect(await read(service, dn, "userAccountControl")).toEqual(["262656"]);
        expect(await bind(dn, password)).toMatch(/^49/);
      });

      test("without a bind only the root DSE is readable", async () => {
        const client = new Client({
          url: server.url,
          tlsOptions: { ca: server.ca, servername: server.serverName },
        });
        try {
          const attributes = ["defaultNamingContext"];
          const { searchEntries } = await client.search("", { scope: "base", attributes });
          expect(searchEntries[0]!.defaultNamingContext).toBe(server.baseDn);
          expect(await codeOf(client.search(server.guestOu, { scope: "base" }))).toBe(1);
        } finally {
          await client.unbind();
        }
      });
    });

    describe("what the server says of itself", () => {
      test("the root DSE names contexts, capabilities and the service object with its invocationId", async () => {
        const { entries } = await search(service, "", { scope: "base", attributes: ["*", "+"] });
        const dse = entries[0]!.attributes;
        const texts = (key: string) => dse[key]!.map(String);
        expect(texts("namingContexts")).toContain(server.baseDn);
        expect(texts("supportedCapabilities")).toContain("1.2.840.113556.1.4.800");
        for (const control of Object.values(oid)) expect(texts("supportedControl")).toContain(control);
        expect(texts("currentTime")[0]).toMatch(/^\d{14}\.0Z$/);
        const serviceObject = await search(service, texts("dsServiceName")[0]!, {
          scope: "base",
          attributes: ["invocationId"],
        });
        expect(serviceObject.entries[0]!.attributes.invocationId![0]).toHaveLength(16);
      });

      test("the schema tells syntax, values and links of an attribute", async () => {
        const [schema] = await search(service, "", {
          scope: "base",
          attributes: ["schemaNamingContext"],
        }).then(({ entries }) => entries[0]!.attributes.schemaNamingContext!.map(String));
        const definition = async (attribute: string, wanted: string[]) => {
          const { entries } = await search(service, schema!, {
            filter: `(lDAPDisplayName=${attribute})`,
            attributes: wanted,
          });
          return wanted.map((key) => entries[0]?.attributes[key]?.toString());
        };
        const wanted = ["attributeSyntax", "oMSyntax", "isSingleValued", "linkID"];
        expect(await definition("manager", wanted)).toEqual(["2.5.5.1", "127", "TRUE", "42"]);
        expect(await definition("proxyAddresses", wanted)).toEqual(["2.5.5.12", "64", "FALSE", undefined]);
        expect(await definition("adminDescription", ["rangeUpper"])).toEqual(["1024"]);
        expect(await definition("user", ["subClassOf"])).toEqual(["organizationalPerson"]);
      });

      test("an account can ask what it may do", async () => {
        const ask = async (dn: string, attribute: string) => {
          const { entries } = await search(service, dn, { scope: "base", attributes: [attribute] });
          return (entries[0]?.attributes[attribute] ?? []).map(String);
        };
        expect(await ask(server.guestOu, "allowedChildClassesEffective")).toEqual(["user"]);
        expect(await ask(`CN=Users,${server.baseDn}`, "allowedChildClassesEffective")).toEqual([]);
        const dn = await user();
        const writable = await ask(dn, "allowedAttributesEffective");
        expect(writable).toEqual(expect.arrayContaining(["mail", "adminDescription", "userAccountControl"]));
        expect(writable).not.toContain("servicePrincipalName");
        expect(await ask(server.adminDn, "allowedAttributesEffective")).toEqual([]);
      });
    });

    describe("adding", () => {
      test("the directory completes a user by itself", async () => {
        const before = await usn();
        const dn = await user({ adminDescription: "User_1" }, "Ann Lee");
        const { entries } = await search(service, dn, { scope: "base" });
        const { attributes } = entries[0]!;
        const text = (key: string) => attributes[key]?.map(String).join(" ");
        expect(entries[0]!.dn).toBe(dn);
        expect(text("objectClass")).toBe("top person organizationalPerson user");
        expect([text("cn"), text("name"), text("distinguishedName")]).toEqual(["Ann Lee", "Ann Lee", dn]);
        expect(attributes.objectGUID![0]).toHaveLength(16);
        expect(attributes.objectSid![0]).toHaveLength(28);
        expect(text("sAMAccountType")).toBe("805306368");
        expect(text("primaryGroupID")).toBe("513");
        expect(text("objectCategory")).toBe(`CN=Person,CN=Schema,CN=Configuration,${server.baseDn}`);
        expect(text("accountExpires")).toBe("9223372036854775807");
        expect(Number(text("uSNCreated"))).toBeGreaterThan(before);
        expect(text("whenCreated")).toMatch(/^\d{14}\.0Z$/);
        expect(attributes.unicodePwd).toBeUndefined();
      });

      test("an account name is made up where none is given, and the account is disabled", async () => {
        const dn = `CN=nameless,${server.guestOu}`;
        await service.add(dn, { objectClass: "user" });
        expect((await read(service, dn, "sAMAccountName"))[0]).toMatch(/^\$/);
        expect(await read(service, dn, "userAccountControl")).toEqual(["546"]);
      });

      test("names with every special character come back as they were", async () => {
        const cn = 'O\'Brien, "Zoë" <z+y>=; #1 \\ 山田';
        const dn = `CN=O'Brien\\, \\"Zoë\\" \\<z\\+y\\>\\3D\\3B \\#1 \\\\ 山田,${server.guestOu}`;
        await service.add(dn, { objectClass: "user", sAMAccountName: "obrien" });
        const { entries } = await search(service, server.guestOu, { filter: "(sAMAccountName=obrien)" });
        expect(entries[0]!.attributes.cn!.map(String)).toEqual([cn]);
        expect(entries[0]!.dn).toBe(dn);
        expect(await found(entries[0]!.dn, { scope: "base" })).toEqual([cn]);
      });

      test("names are unique: DN and account name in the domain, principal name in the forest", async () => {
        const dn = await user({ sAMAccountName: "unique1", userPrincipalName: "unique1@contoso.example" });
        const add = (cn: string, attributes: Record<string, string>) =>
          codeOf(service.add(`CN=${cn},${server.guestOu}`, { objectClass: "user", ...attributes }));
        expect(await codeOf(service.add(dn, { objectClass: "user" }))).toBe(68);
        expect(await add("other1", { sAMAccountName: "UNIQUE1" })).toBe(68);
        expect(await add("other2", { userPrincipalName: "Unique1@contoso.example" })).toBe(19);
        expect(await add("other3", { mail: "same@contoso.example" })).toBe(0);
        expect(await add("other4", { mail: "same@contoso.example" })).toBe(0);
        expect(
          await codeOf(
            service.modify(`CN=other3,${server.guestOu}`, change("replace", "sAMAccountName", "unique1")),
          ),
        ).toBe(68);
      });

      test("a refused add has the code of its reason", async () => {
        const add = (attributes: Record<string, string | string[]>, dn = `CN=refused,${server.guestOu}`) =>
          codeOf(service.add(dn, attributes));
        expect(await add({ sAMAccountName: "x" })).toBe(65);
        expect(await add({ objectClass: "noSuchClass" })).toBe(16);
        expect(await add({ objectClass: "user", noSuchAttribute: "x" })).toBe(16);
        expect(await add({ objectClass: "user", groupType: "2" })).toBe(65);
        expect(await add({ objectClass: "user", mail: ["a", "b"] })).toBe(19);
        expect(await add({ objectClass: "user", title: "" })).toBe(21);
        expect(await add({ objectClass: "user", objectGUID: "x".repeat(16) })).toBe(53);
        expect(await add({ objectClass: "user", sAMAccountName: "a[b" })).toBe(19);
        expect(await add({ objectClass: "user" }, `CN=x,OU=none,${server.guestOu}`)).toBe(32);
        expect(await add({ objectClass: "user" }, `OU=x,${server.guestOu}`)).toBe(64);
        expect(await add({ objectClass: "user" }, "not a DN")).toBe(34);
        // Windows refuses what Samba takes: long names, and an enabled account without a password.
        expect(
          await add({ objectClass: "user", sAMAccountName: "x".repeat(21) }, `CN=l1,${server.guestOu}`),
        ).toBe(windows ? 19 : 0);
        expect(await add({ objectClass: "user" }, `CN=${"x".repeat(65)},${server.guestOu}`)).toBe(
          windows ? 19 : 0,
        );
        expect(await add({ objectClass: "user", userAccountControl: "512" }, `CN=l3,${server.guestOu}`)).toBe(
          windows ? 53 : 0,
        );
      });
    });

    describe("passwords", () => {
      test("weak and malformed ones are refused, a good one is never shown", async () => {
        const dn = await user();
        const set = (value: Buffer) => codeOf(service.modify(dn, change("replace", "unicodePwd", value)));
        expect(await set(quoted("Ab1!"))).toBe(19);
        expect(await set(quoted("alllowercase"))).toBe(19);
        expect(await set(Buffer.from(password, "utf16le"))).toBe(53);
        expect(await set(quoted(password))).toBe(0);
        await service.modify(dn, change("replace", "userAccountControl", "512"));
        expect(await read(admin, dn, "unicodePwd")).toEqual([]);
        expect((await read(service, dn, "pwdLastSet"))[0]).not.toBe("0");
        expect(await found(server.guestOu, { filter: "(unicodePwd=*)" })).toEqual([]);
      });
    });

    describe("modifying", () => {
      test("replace, clear, add and delete of values", async () => {
        const dn = await user({ displayName: "Old" });
        await service.modify(dn, [change("replace", "displayName", "New"), change("add", "title", "Dr")]);
        expect(await read(service, dn, "displayName")).toEqual(["New"]);
        await service.modify(dn, [change("replace", "displayName"), change("delete", "title", "Dr")]);
        expect(await read(service, dn, "displayName")).toEqual([]);
        expect(await read(service, dn, "title")).toEqual([]);
        expect(await codeOf(service.modify(dn, change("replace", "title")))).toBe(0);
      });

      test("deleting the old value with adding the new one is a compare-and-swap", async () => {
        const dn = await user({ title: "one" });
        const swap = (from: string, to: string) =>
          codeOf(service.modify(dn, [change("delete", "title", from), change("add", "title", to)]));
        expect(await swap("one", "two")).toBe(0);
        expect(await swap("one", "three")).toBe(16);
        expect(await read(service, dn, "title")).toEqual(["two"]);
      });

      test("a refused change has the code of its reason and changes nothing", async () => {
        const dn = await user({ title: "kept", displayName: "kept" });
        const modify = (...changes: ReturnType<typeof change>[]) => codeOf(service.modify(dn, changes));
        expect(
          await modify(change("replace", "displayName", "new"), change("replace", "noSuchAttribute", "x")),
        ).toBe(16);
        expect(await read(service, dn, "displayName")).toEqual(["kept"]);
        expect(await modify(change("replace", "displayName", ""))).toBe(21);
        expect(await modify(change("delete", "company"))).toBe(16);
        expect(await modify(change("replace", "displayName", "a", "b"))).toBe(20);
        expect(await modify(change("add", "title", "second"))).toBe(20);
        expect(await modify(change("replace", "userAccountControl", "many"))).toBe(21);
        expect(await modify(change("replace", "title", "x".repeat(129)))).toBe(21);
        expect(await modify(change("replace", "cn", "x"))).toBe(67);
        expect(await modify(change("replace", "manager", `CN=nobody,${server.guestOu}`))).toBe(19);
        expect(await modify(change("delete", "userAccountControl"))).toBe(53);
        expect(await codeOf(admin.modify(dn, change("replace", "whenCreated", "20200101000000.0Z")))).toBe(
          19,
        );
        expect(await codeOf(admin.modify(dn, change("add", "memberOf", `CN=Users,${server.baseDn}`)))).toBe(
          53,
        );
        expect(
          await codeOf(service.modify(`CN=nobody,${server.guestOu}`, change("replace", "title", "x"))),
        ).toBe(32);
      });

      test("a principal name is removed by a delete and not by an empty replace", async () => {
        const dn = await user({ userPrincipalName: `gone${++made}@contoso.example` });
        expect(await codeOf(service.modify(dn, change("replace", "userPrincipalName")))).toBe(65);
        expect(await codeOf(service.modify(dn, change("delete", "userPrincipalName")))).toBe(0);
      });

      test("the permissive modify control forgives deleting what is not there", async () => {
        const dn = await user();
        const permissive = new PlainControl(oid.permissiveModify);
        expect(await codeOf(service.modify(dn, change("delete", "title", "x"), permissive))).toBe(0);
      });

      test("links follow renames, and back links and deletions follow links", async () => {
        const boss = await user({}, "boss");
        const dn = await user({ manager: boss });
        await service.modifyDN(boss, `CN=big boss,${server.guestOu}`);
        const renamed = `CN=big boss,${server.guestOu}`;
        expect(await read(service, dn, "manager")).toEqual([renamed]);
        expect(await read(service, renamed, "directReports")).toEqual([dn]);
        const before = await read(service, dn, "uSNChanged");
        await service.del(renamed);
        expect(await read(service, dn, "manager")).toEqual([]);
        expect(await read(service, dn, "uSNChanged")).toEqual(before);
      });
    });

    describe("renaming and moving", () => {
      test("an object keeps its GUID and is found by it", async () => {
        const dn = await user({}, "before");
        const id = await guid(dn);
        const byGuid = `<GUID=${guidText(id)}>`;
        await service.modifyDN(byGuid, `CN=after,${server.guestOu}`);
        expect(await found(byGuid, { scope: "base" })).toEqual(["after"]);
        expect(await guid(`cn=AFTER,${server.guestOu.toLowerCase()}`)).toEqual(id);
        await service.modifyDN(`CN=after,${server.guestOu}`, `CN=After,${server.guestOu}`);
        expect(await found(byGuid, { scope: "base" })).toEqual(["After"]);
        expect(await codeOf(service.modifyDN(dn, `CN=x,${server.guestOu}`))).toBe(32);
        const taken = await user();
        expect(await codeOf(service.modifyDN(byGuid, taken))).toBe(68);
        expect(await codeOf(admin.modifyDN(byGuid, `CN=x,OU=none,${server.baseDn}`))).toBe(80);
      });

      test("an administrator moves an object out, and its old scope does not show it", async () => {
        const dn = await user({ adminDescription: "User_moved" }, "mover");
        await admin.modifyDN(dn, `CN=mover,CN=Users,${server.baseDn}`);
        expect(await found(server.guestOu, { filter: "(adminDescription=User_moved)" })).toEqual([]);
        expect(await found(server.baseDn, { filter: "(adminDescription=User_moved)" })).toEqual(["mover"]);
      });
    });

    describe("rights of the service account end at the guest OU", () => {
      test("everything else is refused with code 50", async () => {
        const dn = await user();
        const outside = `CN=outside,CN=Users,${server.baseDn}`;
        const refused = [
          service.modify(server.adminDn, change("replace", "title", "x")),
          service.modify(server.adminDn, change("replace", "unicodePwd", quoted(password))),
          service.add(outside, { objectClass: "user" }),
          service.add(`CN=g,${server.guestOu}`, { objectClass: "group" }),
          service.add(`OU=o,${server.guestOu}`, { objectClass: "organizationalUnit" }),
          service.modifyDN(dn, outside),
          service.del(server.guestOu),
          service.del(server.adminDn),
          service.modify(dn, change("replace", "servicePrincipalName", "http/x")),
          service.modify(dn, change("replace", "userAccountControl", String(514 + 0x80000))),
        ];
        expect(await Promise.all(refused.map(codeOf))).toEqual(refused.map(() => 50));
      });
    });

    describe("searching", () => {
      test("scopes", async () => {
        const inner = `OU=inner${++made},${server.guestOu}`;
        await admin.add(inner, { objectClass: "organizationalUnit" });
        await admin.add(`CN=deep,${inner}`, { objectClass: "user" });
        const filter = "(|(cn=deep)(ou=inner*))";
        const names = async (scope: "base" | "one" | "sub") => {
          const { entries } = await search(service, inner, { scope, filter, attributes: ["name"] });
          return entries.map(({ attributes }) => attributes.name?.toString()).sort();
        };
        expect(await names("base")).toEqual([`inner${made}`]);
        expect(await names("one")).toEqual(["deep"]);
        expect(await names("sub")).toEqual(["deep", `inner${made}`]);
        expect(await codeOf(admin.del(inner))).toBe(66);
        await admin.del(inner, new PlainControl(oid.treeDelete));
      });

      test("filters", async () => {
        const dn = await user(
          {
            sAMAccountName: "filter1",
            mail: "Zoë(1)*@contoso.example",
            title: "Chief",
            userAccountControl: "66050",
            proxyAddresses: ["SMTP:a@x.example", "smtp:b@x.example"],
          },
          "filter one",
        );
        await user({ sAMAccountName: "filter2", userAccountControl: disabled, manager: dn }, "filter two");
        const only = (filter: string) => found(server.guestOu, { filter: `(&(cn=filter*)${filter})` });
        const one = ["filter one"];
        const two = ["filter two"];
        expect(await only("(mail=ZOË\\281\\29\\2a@contoso.example)")).toEqual(one);
        expect(await only("(mail=zo*\\29*example)")).toEqual(one);
        expect(await only("(title=*)")).toEqual(one);
        expect(await only("(!(title=*))")).toEqual(two);
        expect(await only("(|(title=chief)(manager=*))")).toHaveLength(2);
        expect(await only("(proxyAddresses=smtp:B@x.example)")).toEqual(one);
        expect(await only("(userAccountControl:1.2.840.113556.1.4.803:=65538)")).toEqual(one);
        expect(await only("(userAccountControl:1.2.840.113556.1.4.804:=65538)")).toHaveLength(2);
        expect(await only(`(manager=${dn})`)).toEqual(two);
        expect(await only("(objectClass=person)")).toHaveLength(2);
        expect(await only("(objectCategory=person)")).toHaveLength(2);
        expect(await only("(objectClass=group)")).toEqual([]);
        expect(await only("(noSuchAttribute=x)")).toEqual([]);
        expect(await only("(userAccountControl=text)")).toEqual([]);
        expect(await only("(whenCreated>=20200101000000.0Z)")).toHaveLength(2);
        expect(await only("(userAccountControl>=515)")).toEqual(one);
        expect(await only("(userAccountControl<=514)")).toEqual(two);
      });

      test("an object is found by the bytes of its GUID and SID, and as <SID=…>", async () => {
        const dn = await user();
        const { entries } = await search(service, dn, { scope: "base" });
        const { objectGUID, objectSid, cn } = entries[0]!.attributes;
        for (const [attribute, value] of [
          ["objectGUID", objectGUID![0]!],
          ["objectSid", objectSid![0]!],
        ] as const) {
          const filter = new EqualityFilter({ attribute, value });
          const { searchEntries } = await service.search(server.baseDn, { filter, attributes: ["cn"] });
          expect(searchEntries.map((entry) => entry.cn)).toEqual([cn![0]!.toString()]);
        }
        const sid = objectSid![0]!;
        const parts = Array.from({ length: sid[1]! }, (_, i) => sid.readUInt32LE(8 + 4 * i));
        expect(await found(`<SID=S-1-5-${parts.join("-")}>`, { scope: "base" })).toHaveLength(1);
      });

      test("pages hold every object once, also while others are added and deleted", async () => {
        const wave = `wave${randomBytes(3).toString("hex")}`;
        const names = Array.from({ length: 25 }, (_, i) => `${wave} ${i}`);
        for (const cn of names) await user({ title: wave }, cn);
        const seen: (string | undefined)[] = [];
        const sizes: number[] = [];
        let cookie: Buffer | undefined;
        do {
          const page = await search(service, server.guestOu, {
            filter: `(title=${wave})`,
            attributes: ["cn"],
            page: { size: 10, ...(cookie && { cookie }) },
          });
          sizes.push(page.entries.length);
          seen.push(...page.entries.map(({ attributes }) => attributes.cn?.[0]?.toString()));
          cookie = page.cookie;
          if (sizes.length === 1) await user({ title: "other" });
        } while (cookie.length > 0);
        expect(sizes).toEqual([10, 10, 5]);
        expect(seen.sort()).toEqual(names.sort());
      });

      test("a paging cookie means nothing on another connection", async () => {
        await user();
        await user();
        const page = { size: 1 };
        const first = await search(service, server.guestOu, { attributes: ["cn"], page });
        const second = await search(admin, server.guestOu, {
          attributes: ["cn"],
          page: { ...page, cookie: first.cookie },
        });
        expect(second.code).toBe(53);
      });

      test("more objects than the size limit end with code 4", async ({ skip: skipTest }) => {
        skipTest(!windows, "Samba ignores the limit and the cap of 1,000 objects");
        const { code, entries } = await search(service, server.baseDn, { attributes: ["1.1"], sizeLimit: 3 });
        expect([code, entries.length]).toEqual([4, 3]);
      });

      test("subtree searches from the root refer to the configuration, unless asked not to", async () => {
        const options = { filter: "(cn=nobody at all)", attributes: ["cn"] };
        expect((await search(service, server.baseDn, options)).references).toHaveLength(1);
        const scoped = { ...options, controls: [new PlainControl(oid.domainScope)] };
        expect((await search(service, server.baseDn, scoped)).references).toEqual([]);
      });

      test("extended DNs carry GUID and SID", async () => {
        const dn = await user();
        const { entries } = await search(service, dn, {
          scope: "base",
          attributes: ["cn"],
          controls: [new PlainControl(oid.extendedDn, Buffer.from([0x30, 3, 2, 1, 1]))],
        });
        expect(entries[0]!.dn).toMatch(
          new RegExp(`^<GUID=${guidText(await guid(dn))}>;<SID=S-1-5-21-[-0-9]+>;CN=`),
        );
      });

      test("a range of a link's values", async () => {
        const group = `CN=crowd,CN=Users,${server.baseDn}`;
        const members = [await user(), await user(), await user()];
        await admin.add(group, { objectClass: "group", sAMAccountName: "crowd", member: members });
        const part = async (range: string) => {
          const { entries } = await search(service, group, {
            scope: "base",
            attributes: [`member;range=${range}`],
          });
          return Object.entries(entries[0]!.attributes).map(([key, values]) => [key, values.length]);
        };
        expect(await part("0-1")).toEqual([["member;range=0-1", 2]]);
        expect(await part("2-*")).toEqual([["member;range=2-*", 1]]);
        expect(await codeOf(admin.modify(group, change("add", "member", members[0]!)))).toBe(68);
        expect(await read(service, members[0]!, "memberOf")).toEqual([group]);
      });

      test("unknown critical controls and missing bases have their codes", async () => {
        const code = async (base: string) => (await search(service, base, { scope: "base" })).code;
        expect(await code(`CN=nobody,${server.guestOu}`)).toBe(32);
        expect(await code("not a DN")).toBe(34);
        expect(await code("<GUID=00000000-0000-0000-0000-000000000000>")).toBe(32);
        expect(await codeOf(service.search(server.guestOu, {}, new PlainControl("1.2.3.4.5")))).toBe(12);
      });
    });

    describe("deletions", () => {
      const showDeleted = () => [new PlainControl(oid.showDeleted)];

      test("leave a tombstone that keeps GUID, SID and account name and nothing personal", async () => {
        const dn = await user(
          { sAMAccountName: "tomb1", mail: "tomb1@contoso.example", displayName: "Tomb" },
          "tomb",
        );
        const id = await guid(dn);
        const sid = (await search(service, dn, { scope: "base" })).entries[0]!.attributes.objectSid![0]!;
        await service.del(dn);
        const byGuid = `<GUID=${guidText(id)}>`;
        expect((await search(service, byGuid, { scope: "base" })).code).toBe(32);
        const { entries } = await search(service, byGuid, { scope: "base", controls: showDeleted() });
        const { attributes } = entries[0]!;
        expect(entries[0]!.dn).toBe(`CN=tomb\\0ADEL:${guidText(id)},CN=Deleted Objects,${server.baseDn}`);
        expect(attributes.isDeleted!.map(String)).toEqual(["TRUE"]);
        expect(attributes.objectGUID![0]).toEqual(id);
        expect(attributes.objectSid![0]).toEqual(sid);
        expect(attributes.sAMAccountName!.map(String)).toEqual(["tomb1"]);
        expect(attributes.lastKnownParent!.map(String)).toEqual([server.guestOu]);
        expect([attributes.mail, attributes.displayName]).toEqual([undefined, undefined]);
        expect(await codeOf(service.add(dn, { objectClass: "user", sAMAccountName: "tomb1" }))).toBe(0);
        expect(await guid(dn)).not.toEqual(id);
      });

      test("are found by USN below the well-known container, and at the root", async () => {
        const dn = await user();
        const id = await guid(dn);
        const before = await usn();
        await service.del(dn);
        const filter = `(&(uSNChanged>=${before + 1})(isDeleted=TRUE)(objectClass=user))`;
        const container = `<WKGUID=18E2EA80684F11D2B9AA00C04F79F805,${server.baseDn}>`;
        for (const base of [container, server.baseDn]) {
          const { entries } = await search(service, base, { filter, controls: showDeleted() });
          expect(entries.map(({ attributes }) => attributes.objectGUID![0])).toEqual([id]);
          expect(await found(base, { filter })).toEqual([]);
        }
      });

      test("can be taken back by an administrator, without what the tombstone lost", async () => {
        const dn = await user({ sAMAccountName: "lazarus", mail: "lazarus@contoso.example" }, "lazarus");
        const id = await guid(dn);
        await service.del(dn);
        const tombstone = `CN=lazarus\\0ADEL:${guidText(id)},CN=Deleted Objects,${server.baseDn}`;
        const back = [change("delete", "isDeleted"), change("replace", "distinguishedName", dn)];
        await admin.modify(tombstone, back, new PlainControl(oid.showDeleted));
        expect(await guid(dn)).toEqual(id);
        expect(await read(service, dn, "mail")).toEqual([]);
        expect(await read(service, dn, "sAMAccountName")).toEqual(["lazarus"]);
      });
    });

    describe("changes since", () => {
      test("uSNChanged finds creations and changes in the order of time", async () => {
        const before = await usn();
        const first = await user({}, "usn first");
        await user({}, "usn second");
        await service.modify(first, change("replace", "title", "x"));
        const filter = `(&(objectClass=user)(uSNChanged>=${before + 1}))`;
        expect((await found(server.guestOu, { filter })).sort()).toEqual(["usn first", "usn second"]);
        const created = `(&(uSNCreated>=${before + 1})(uSNCreated<=${before + 1}))`;
        expect(await found(server.guestOu, { filter: created })).toEqual(["usn first"]);
        const after = await usn();
        await service.modify(first, change("replace", "title", "x"));
        expect(await found(server.guestOu, { filter: `(uSNChanged>=${after + 1})` })).toEqual([]);
      });

      const wanted = ["name", "mail", "title", "isDeleted", "sAMAccountName"];
      const sync = async (control: DirSyncControl) => {
        const { code, entries } = await search(service, server.baseDn, {
          filter: "(objectClass=user)",
          attributes: wanted,
          controls: [control],
        });
        expect([code, control.more]).toEqual([0, false]);
        return entries.map(({ dn, attributes }) => ({
          dn,
          id: attributes.objectGUID?.[0]?.toString("hex"),
          parent: attributes.parentGUID !== undefined,
          ...Object.fromEntries(
            wanted.flatMap((key) =>
              attributes[key] === undefined ? [] : [[key, attributes[key].map(String)]],
            ),
          ),
        }));
      };

      test("DirSync sends what changed, cleared values as none, renames, deletions, and nothing twice", async () => {
        const control = new DirSyncControl();
        const initial = await sync(control);
        expect(initial.length).toBeGreaterThan(3);
        const account = `ds${++made}`;
        const dn = await user({ sAMAccountName: account, mail: "ds@contoso.example", title: "x" }, "sync me");
        const id = (await guid(dn)).toString("hex");
        expect(await sync(control)).toEqual([
          {
            dn,
            id,
            parent: true,
            name: ["sync me"],
            mail: ["ds@contoso.example"],
            title: ["x"],
            sAMAccountName: [account],
          },
        ]);
        await service.modify(dn, [
          change("replace", "mail", "new@contoso.example"),
          change("replace", "title"),
        ]);
        expect(await sync(control)).toEqual([
          { dn, id, parent: false, mail: ["new@contoso.example"], title: [] },
        ]);
        await service.modify(dn, change("replace", "description", "not asked for"));
        expect(await sync(control)).toEqual([]);
        const renamed = `CN=synced,${server.guestOu}`;
        await service.modifyDN(dn, renamed);
        expect(await sync(control)).toEqual([{ dn: renamed, id, parent: true, name: ["synced"] }]);
        await service.del(renamed);
        const [deleted, ...more] = await sync(control);
        expect(more).toEqual([]);
        expect(deleted).toMatchObject({ id, isDeleted: ["TRUE"], mail: [] });
        expect(await sync(control)).toEqual([]);
      });

      test("DirSync refuses other bases, broken cookies, and replication without the right", async () => {
        const code = async (base: string, control: DirSyncControl) =>
          (await search(service, base, { attributes: ["name"], controls: [control] })).code;
        expect(await code(server.guestOu, new DirSyncControl())).toBe(53);
        const broken = new DirSyncControl();
        broken.cookie = Buffer.from("garbage");
        expect(await code(server.baseDn, broken)).toBe(12);
        expect(await code(server.baseDn, new DirSyncControl(0))).toBe(50);
      });
    });
  });

  describe.skipIf(skip)(`${name}, when the service account may not read deleted objects`, () => {
    test("deletions are invisible to it, by USN and by DirSync", async () => {
      const server = await start(false);
      const service = await connect(server, server.bindDn, server.bindPassword);
      try {
        const dn = `CN=unseen,${server.guestOu}`;
        await service.add(dn, { objectClass: "user" });
        const control = new DirSyncControl();
        const sync = () => search(service, server.baseDn, { attributes: ["name"], controls: [control] });
        await sync();
        await service.del(dn);
        expect((await sync()).entries).toEqual([]);
        const { entries } = await search(service, server.baseDn, {
          filter: "(&(isDeleted=TRUE)(objectClass=user))",
          controls: [new PlainControl(oid.showDeleted)],
        });
        expect(entries).toEqual([]);
      } finally {
        await service.unbind();
        await server.stop();
      }
    });
  });
}
