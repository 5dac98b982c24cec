import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { AdConnector } from "../../src/engine/connectors/ad/adConnector.ts";
import type { Image } from "../../src/engine/core/model.ts";
import {
  type AttributeValue,
  escapeRdnValue,
  type Reference,
  reference,
  valuesOf,
  valueToJson,
} from "../../src/engine/core/values.ts";
import type {
  ExportChange,
  ExportResult,
  ImportEntry,
  ImportStart,
} from "../../src/engine/ports/connector.ts";
import {
  Administrator,
  adSettings,
  type DirectoryUnderTest,
  guestDefinition,
} from "../support/activeDirectory.ts";

export interface OpenDirectory {
  readonly directory: DirectoryUnderTest;
  /** PEM text of the authority to trust. */
  readonly ca: string;
  /** False when its schema has no classes that derive from user: computer, inetOrgPerson. */
  readonly derivedUsers?: false;
  /** How many members a large group gets: more than are shown at once, as far as that does not take long. */
  readonly manyMembers: number;
  /** Of its forest, when it has one. */
  readonly globalCatalogUrl?: string;
  /** Puts the directory back to what it was when it was opened; all connections break. */
  reset?(): Promise<void>;
  close(): Promise<void>;
}

/** Attributes with their values in one order: a directory has none. */
const sorted = (attributes: Readonly<Record<string, AttributeValue>>) =>
  Object.fromEntries(
    Object.entries(attributes)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, value]) => [
        name,
        valuesOf(value)
          .map((one) => JSON.stringify(valueToJson(one)))
          .sort(),
      ]),
  );

/**
 * What the connector does on every Active Directory, beyond the promises of all connectors.
 * @param openDirectory a directory whose service account may not read deleted objects; called once.
 */
export function activeDirectoryConformance(name: string, openDirectory: () => Promise<OpenDirectory>): void {
  describe(`${name}: what is special to Active Directory`, () => {
    let open: OpenDirectory;
    let administrator: Administrator;
    let connector: AdConnector;
    const connectors: AdConnector[] = [];
    const log: string[] = [];
    const context = { log: (line: string) => log.push(line) };

    beforeAll(async () => {
      open = await openDirectory();
      administrator = await Administrator.logOn(open.directory, open.ca);
      connector = connect();
    });
    afterAll(async () => {
      await Promise.all(connectors.map((one) => one.close()));
      await administrator?.logOff();
      await open?.close();
    });

    function connect(changes: Record<string, unknown> = {}, more: readonly string[] = []): AdConnector {
      const [type] = guestDefinition.objectTypes;
      const definition = {
        ...guestDefinition,
        objectTypes: [{ name: "user", attributes: [...type!.attributes, ...more] }],
      };
      const made = new AdConnector(definition, adSettings(open.directory, changes));
      connectors.push(made);
      return made;
    }

    /** As the administrator, who may create whatever there is. */
    function connectTypes(
      types: Readonly<Record<string, readonly string[]>>,
      changes: Record<string, unknown> = {},
    ): AdConnector {
      const objectTypes = Object.entries(types).map(([name, attributes]) => ({ name, attributes }));
      const { adminDn: bindDn, adminPassword: bindPassword } = open.directory;
      const settings = adSettings(open.directory, { bindDn, bindPassword, ...changes });
      const made = new AdConnector({ name: "TYPES", objectTypes }, settings);
      connectors.push(made);
      return made;
    }
    const connectGroups = () =>
      connectTypes({
        user: ["sAMAccountName"],
        group: ["adminDescription", "groupType", "member", "sAMAccountName"],
      });

    function addOf(
      objectType: string,
      dn: string,
      attributes: Readonly<Record<string, AttributeValue>>,
    ): ExportChange {
      return {
        ...newAccount(),
        objectType,
        dn,
        attributes: Object.entries(attributes).map(([name, after]) => ({ name, after, rule: "test" })),
      };
    }

    async function importAll(start: ImportStart, from = connector) {
      const entries: ImportEntry[] = [];
      for await (const page of from.importPages(start, context)) {
        entries.push(...page.entries);
        if (page.complete !== undefined) return { entries, complete: page.complete };
      }
      throw new Error("The import has no end.");
    }

    async function imageOf(anchor: string, from = connector): Promise<Image> {
      const [verdict] = await from.readAbsent([anchor]);
      if (verdict?.kind !== "present") throw new Error(`${anchor} is ${verdict?.kind}`);
      return verdict.image;
    }

    let made = 0;
    function newAccount(more: Readonly<Record<string, AttributeValue>> = {}): ExportChange {
      const id = `person${++made}`;
      const attributes: Readonly<Record<string, AttributeValue>> = {
        adminDescription: `User_${id}`,
        displayName: "Ann Lee",
        sAMAccountName: id,
        userAccountControl: 262_656n,
        userPrincipalName: `${id}@contoso.onmicrosoft.com`,
        ...more,
      };
      return {
        id,
        objectType: "user",
        change: "add",
        anchor: null,
        dn: `CN=${id},${open.directory.guestOu}`,
        attributes: Object.entries(attributes).map(([name, after]) => ({ name, after, rule: "test" })),
        outcomeUnknown: false,
      };
    }
    const update = (
      anchor: string,
      dn: string,
      name: string,
      before: AttributeValue | undefined,
      after: AttributeValue | undefined,
    ): ExportChange => ({
      id: anchor,
      objectType: "user",
      change: "update",
      anchor,
      dn,
      attributes: [
        {
          name,
          rule: "test",
          ...(before === undefined ? {} : { before }),
          ...(after === undefined ? {} : { after }),
        },
      ],
      outcomeUnknown: false,
    });
    const send = async (change: ExportChange, by = connector) =>
      (await by.exportBatch([change], context))[0] as ExportResult;
    async function create(change: ExportChange, by = connector): Promise<{ anchor: string; dn: string }> {
      const result = await send(change, by);
      if (result.kind !== "exported") throw new Error(result.message);
      return result;
    }
    const failed = (code: string, message: RegExp) => ({
      kind: "failed",
      code,
      message: expect.stringMatching(message),
    });

    test("deletions that cannot be seen are announced, and missing from the list of anchors", async () => {
      const gone = await create(newAccount());
      const stays = await create(newAccount());
      const { complete } = await importAll({ kind: "full" });
      expect(complete.deletionsUnseen).toBeUndefined();
      await administrator.delete(gone.dn);
      await administrator.replace(stays.dn, "sn", "Changed");
      const delta = await importAll({ kind: "delta", watermark: complete.watermark });
      expect(delta.complete.deletionsUnseen).toBe(true);
      expect(delta.entries.map(({ kind, anchor }) => [kind, anchor])).toEqual([["object", stays.anchor]]);
      expect(log.at(-1)).toMatch(/may not read the Deleted Objects container/);
      const anchors: string[] = [];
      for await (const page of connector.listAnchors()) anchors.push(...page);
      expect(anchors).toContain(stays.anchor);
      expect(anchors).not.toContain(gone.anchor);
    });

    test("a new account has all its values, and no password that anybody could use", async () => {
      const photo = Uint8Array.from({ length: 50_000 }, (_, index) => (index * 7) % 256);
      const rich = connect({}, ["accountExpires", "manager", "memberOf", "primaryGroupID", "thumbnailPhoto"]);
      const manager = await create(newAccount());
      const values = {
        displayName: 'O\'Brien, "Zoë" <漢字> \\ #1; ',
        otherMailbox: ["a@x.example", "b@x.example"],
        manager: reference(manager.dn),
        thumbnailPhoto: photo,
        accountExpires: 133_000_000_000_000_000n,
      };
      const change = newAccount(values);
      const { anchor, dn } = await create(change, rich);
      const image = await imageOf(anchor, rich);
      expect(image).toMatchObject({ objectType: "user", dn });
      for (const { name, after } of change.attributes)
        expect([name, image.attributes[name]]).toEqual([name, after]);
      expect(image.attributes).toMatchObject({ cn: change.id, primaryGroupID: 513n });
      expect(image.attributes.unicodePwd).toBeUndefined();
      expect(image.attributes.objectSid).toBeInstanceOf(Uint8Array);
      expect(valueToJson(image.attributes.whenCreated as never)).toMatchObject({
        $dt: expect.stringMatching(/Z$/),
      });
      expect((await administrator.read(dn))?.pwdLastSet?.[0]).toMatch(/^1\d{17}$/);
      const upn = String(image.attributes.userPrincipalName);
      for (const guess of ["", change.id, "Password1", upn]) {
        expect(await administrator.canBind(upn, guess, open.ca)).toBe(false);
      }
    });

    test("an add that is repeated sends the difference and a fresh password", async () => {
      const change = newAccount({ sn: "Lee" });
      const { anchor, dn } = await create(change);
      await administrator.replace(dn, "sn", "Changed");
      await administrator.move(dn, `CN=by hand ${change.id},${open.directory.guestOu}`);
      await administrator.replace(`<GUID=${anchor}>`, "pwdLastSet", "0");
      expect(await send({ ...change, outcomeUnknown: true })).toEqual({
        kind: "exported",
        anchor,
        dn,
        resumed: true,
      });
      const found = await administrator.read(dn);
      expect(found?.sn).toEqual(["Lee"]);
      expect(found?.pwdLastSet?.[0]).not.toBe("0");
    });

    test.each(["DN", "sAMAccountName", "userPrincipalName"])(
      "a foreign holder of the %s is named",
      async (held) => {
        const change = newAccount();
        const value = (name: string) => String(change.attributes.find((one) => one.name === name)?.after);
        const foreign = `CN=foreign ${change.id},CN=Users,${open.directory.baseDn}`;
        const holder = held === "DN" ? change.dn : foreign;
        await administrator.addUser(holder, {
          sAMAccountName: `f-${change.id}`,
          ...(held === "DN" ? {} : { [held]: value(held) }),
        });
        const result = await send(change);
        expect(result).toMatchObject(failed("cd-existing-object", new RegExp(`not ours.*${held}`)));
        expect(result).toMatchObject({ message: expect.stringContaining(holder) });
      },
    );

    test("an account of ours that was moved out of scope is left alone, and not created again", async () => {
      const change = newAccount();
      const { anchor, dn } = await create(change);
      const moved = `CN=${change.id},CN=Users,${open.directory.baseDn}`;
      await administrator.move(dn, moved);
      const before = await administrator.read(moved);
      expect(await send({ ...change, outcomeUnknown: true })).toMatchObject(
        failed("cd-existing-object", /outside of the connector's OUs/),
      );
      expect(await send(update(anchor, dn, "displayName", "Ann Lee", "Bea"))).toMatchObject(
        failed("cd-missing-object", /left alone/),
      );
      expect(
        await send({ ...update(anchor, dn, "x", "", ""), change: "delete", attributes: [] }),
      ).toMatchObject(failed("cd-missing-object", /left alone/));
      expect(await administrator.read(moved)).toEqual(before);
    });

    test("what the directory refuses comes back with its own words and a remedy", async () => {
      const { anchor, dn } = await create(newAccount());
      const spn = connect({}, ["servicePrincipalName", "manager", "memberOf"]);
      expect(
        await send(update(anchor, dn, "servicePrincipalName", undefined, ["host/x"]), spn),
      ).toMatchObject(failed("permission-issue", /LDAP result 50.*Delegate/));
      const nobody = reference(`CN=nobody,${open.directory.guestOu}`);
      expect(await send(update(anchor, dn, "manager", undefined, nobody), spn)).toMatchObject(
        failed("dn-attributes-failure", /refers to an object that is not there/),
      );
      const lost = newAccount();
      const nowhere = `CN=x,OU=Missing,${open.directory.guestOu}`;
      expect(await send({ ...lost, dn: nowhere })).toMatchObject(
        failed("non-existent-parent", /OU in the DN does not exist/),
      );
      expect(await send({ ...lost, dn: `CN=x,CN=Users,${open.directory.baseDn}` })).toMatchObject(
        failed("invalid-dn", /outside of the connector's OUs/),
      );
      expect(await send(newAccount({ sAMAccountName: "a".repeat(21) }))).toMatchObject(
        failed("invalid-attribute-value", /at most 20/),
      );
      expect(await send(newAccount({ displayName: 7n }))).toMatchObject(
        failed("invalid-attribute-value", /displayName is of type string/),
      );
    });

    test("a clear of the user principal name is sent as a deletion", async () => {
      const change = newAccount();
      const { anchor, dn } = await create(change);
      const upn = `${change.id}@contoso.onmicrosoft.com`;
      expect(await send(update(anchor, dn, "userPrincipalName", upn, undefined))).toMatchObject({
        kind: "exported",
      });
      expect((await administrator.read(dn))?.userPrincipalName).toBeUndefined();
    });

    test("objects in OUs below are imported, once even when OUs overlap", async () => {
      const { guestOu } = open.directory;
      await administrator.addOu(`OU=Below,${guestOu}`);
      const inside = await administrator.addUser(`CN=below,OU=Below,${guestOu}`, { sAMAccountName: "below" });
      const both = connect({ containers: [`OU=Below,${guestOu}`, guestOu.toLowerCase(), guestOu] });
      for (const from of [connector, both]) {
        const { entries } = await importAll({ kind: "full" }, from);
        expect(entries.filter(({ anchor }) => anchor === inside)).toHaveLength(1);
        expect(entries.map(({ kind }) => kind)).not.toContain("error");
      }
    });

    test("objects of a type derived from a user are not taken for users", async ({ skip }) => {
      if (open.derivedUsers === false) return skip("this directory has no computers");
      const { complete } = await importAll({ kind: "full" });
      const anchor = await administrator.addUser(`CN=pc1,${open.directory.guestOu}`, {
        objectClass: "computer",
        sAMAccountName: "pc1$",
        userAccountControl: "4098",
      });
      for (const start of [{ kind: "full" }, { kind: "delta", watermark: complete.watermark }] as const) {
        expect((await importAll(start)).entries.filter((entry) => entry.anchor === anchor)).toEqual([]);
      }
    });

    test("a type or attribute that the directory does not have is told with the nearest names", async () => {
      const wrong = connect({}, ["givnName"]);
      const configuration = (message: RegExp) => ({
        kind: "configuration",
        message: expect.stringMatching(message),
      });
      await expect(wrong.schema()).rejects.toMatchObject(configuration(/no attribute "givnName".*givenName/));
      const type = new AdConnector(
        { name: "ADMA", objectTypes: [{ name: "usr", attributes: [] }] },
        adSettings(open.directory),
      );
      connectors.push(type);
      await expect(type.schema()).rejects.toMatchObject(configuration(/no object type "usr".*user/));
    });

    test("the schema says what is single, read-only and write-only", async () => {
      const [type] = await connect({}, ["memberOf", "manager", "thumbnailPhoto", "pwdLastSet"]).schema();
      const facts = (name: string) => type?.attributes.get(name);
      expect(facts("otherMailbox")).toMatchObject({ type: "string", multiValued: true });
      expect(facts("userAccountControl")).toMatchObject({ type: "integer", multiValued: false });
      expect(facts("pwdLastSet")).toMatchObject({ type: "integer", multiValued: false });
      expect(facts("thumbnailPhoto")).toMatchObject({ type: "binary", multiValued: false });
      expect(facts("manager")).toMatchObject({ type: "reference", syntax: "dn", multiValued: false });
      expect(facts("unicodePwd")).toMatchObject({ type: "string", writeOnly: true });
      for (const name of ["objectGUID", "objectSid", "whenCreated", "memberOf", "cn"]) {
        expect(facts(name)).toMatchObject({ readOnly: true });
      }
      for (const name of ["sAMAccountName", "displayName", "manager"])
        expect(facts(name)?.readOnly).toBeUndefined();
    });

    test("many first calls on a new connector work on one connection", async () => {
      const fresh = connect();
      const changes = Array.from({ length: 16 }, () => newAccount());
      const results = await Promise.all(changes.map((change) => send(change, fresh)));
      expect(results.map(({ kind }) => kind)).toEqual(changes.map(() => "exported"));
    });

    test.each([
      'O\'Brien, "Zoë" <z+y>=; #1 \\',
      " a blank before and one behind ",
      "#hash",
      "日本語 😀 ß ſ İ ı",
      "back\\slash\\",
      "x".repeat(64),
    ])("bytes and texts of every kind come back as they went, under the name %j", async (name) => {
      const number = createHash("sha256").update(name).digest("hex").slice(0, 8);
      const dn = `CN=${escapeRdnValue(name)},${open.directory.guestOu}`;
      const photos = [
        Uint8Array.of(0),
        Uint8Array.of(0xff, 0xfe, 0x00, 0x80),
        Uint8Array.from(name, (_, index) => index),
      ];
      const attributes = {
        adminDescription: `kinds-${number}`,
        sAMAccountName: `kinds${number}`,
        accountExpires: 133_000_000_000_000_000n,
        displayName: name.trim(),
        jpegPhoto: photos,
        logonHours: Uint8Array.from({ length: 21 }, (_, index) => 255 - index),
        url: ["http://a.example/?q=%20", "é\u0301", name.trim()],
      };
      const connector = connectTypes({ user: ["cn", ...Object.keys(attributes)] });
      const [result] = await connector.exportBatch([addOf("user", dn, attributes)], context);
      expect(result).toMatchObject({ kind: "exported" });
      const { anchor, dn: given } = result as Extract<ExportResult, { kind: "exported" }>;
      const image = async () => {
        const [verdict] = await connector.readAbsent([anchor]);
        if (verdict?.kind !== "present") throw new Error(`${anchor} is ${verdict?.kind}`);
        return sorted(verdict.image.attributes);
      };
      expect(await image()).toEqual(sorted({ ...attributes, cn: name }));

      const kept = { name: "jpegPhoto", rule: "test", before: photos, after: photos.slice(1) };
      const update: ExportChange = {
        ...addOf("user", given, {}),
        change: "update",
        anchor,
        attributes: [kept],
      };
      expect(await connector.exportBatch([update], context)).toMatchObject([{ kind: "exported" }]);
      expect(await image()).toEqual(sorted({ ...attributes, cn: name, jpegPhoto: photos.slice(1) }));
    });

    test("a renamed OU stops imports, and nothing is taken for deleted", async () => {
      const { baseDn } = open.directory;
      const ou = `OU=Partners,${baseDn}`;
      await administrator.addOu(ou);
      await administrator.addUser(`CN=partner,${ou}`, { sAMAccountName: "partner" });
      const partners = connect({ containers: [ou] });
      const { entries, complete } = await importAll({ kind: "full" }, partners);
      expect(entries).toHaveLength(1);
      await administrator.move(ou, `OU=Former Partners,${baseDn}`);
      const missing = { kind: "configuration", message: expect.stringMatching(/OU=Partners.*GUEST_OU/) };
      await expect(importAll({ kind: "full" }, partners)).rejects.toMatchObject(missing);
      await expect(
        importAll({ kind: "delta", watermark: complete.watermark }, partners),
      ).rejects.toMatchObject(missing);
      await expect(partners.listAnchors().next()).rejects.toMatchObject(missing);
      await expect(partners.ping()).rejects.toMatchObject(missing);
      const elsewhere = connect({
        baseDn: "DC=fabrikam,DC=example",
        containers: ["OU=a,DC=fabrikam,DC=example"],
      });
      await expect(elsewhere.ping()).rejects.toMatchObject({ message: expect.stringMatching(/AD_BASE_DN/) });
    });

    test("an OU in scope that is renamed in the middle of a delta import takes nobody out of scope", async () => {
      const { baseDn } = open.directory;
      const [ou, renamed] = [`OU=Sellers,${baseDn}`, `OU=Former Sellers,${baseDn}`];
      await administrator.addOu(ou);
      const names = ["a", "b", "c", "d", "e"];
      const anchors: string[] = [];
      for (const name of names)
        anchors.push(await administrator.addUser(`CN=${name},${ou}`, { sAMAccountName: `seller-${name}` }));
      const sellers = connect({ containers: [ou], pageSize: 1 });
      const { watermark } = (await importAll({ kind: "full" }, sellers)).complete;
      for (const name of names) await administrator.replace(`CN=${name},${ou}`, "displayName", "Changed");
      const seen: ImportEntry[] = [];
      const rest = async () => {
        for await (const page of sellers.importPages({ kind: "delta", watermark }, context)) {
          if (seen.length === 0) await administrator.move(ou, renamed);
          seen.push(...page.entries);
        }
      };
      const missing = { kind: "configuration", message: expect.stringMatching(/OU=Sellers.*GUEST_OU/) };
      await expect(rest()).rejects.toMatchObject(missing);
      expect(seen.filter(({ kind }) => kind !== "object")).toEqual([]);
      await expect(sellers.readAbsent(anchors)).rejects.toMatchObject(missing);
      await administrator.move(renamed, ou);
      expect(await sellers.readAbsent(anchors)).toMatchObject(names.map(() => ({ kind: "present" })));
    });

    test("what is below a renamed OU comes with its new name, and what was below one that left is out of scope", async () => {
      const { guestOu, baseDn } = open.directory;
      const [inner, leaving] = [`OU=Inner,${guestOu}`, `OU=Leaving,${guestOu}`];
      for (const ou of [inner, leaving]) await administrator.addOu(ou);
      const stays = await administrator.addUser(`CN=stays,${inner}`, { sAMAccountName: "stays" });
      const leaves = await administrator.addUser(`CN=leaves,${leaving}`, { sAMAccountName: "leaves" });
      const { watermark } = (await importAll({ kind: "full" })).complete;
      await administrator.move(inner, `OU=Renamed,${guestOu}`);
      await administrator.move(leaving, `OU=Left,${baseDn}`);
      const { entries } = await importAll({ kind: "delta", watermark });
      const byAnchor = new Map(entries.map((entry) => [entry.anchor, entry]));
      expect(byAnchor.size).toBe(2);
      expect(byAnchor.get(stays)).toMatchObject({
        image: { dn: expect.stringMatching(/^CN=stays,OU=Renamed,/) },
      });
      expect(byAnchor.get(leaves)).toEqual({ kind: "absent", anchor: leaves, absence: "outOfScope" });
    });

    test("a group comes again when a member is renamed or deleted, which do not mark it", async () => {
      const { guestOu } = open.directory;
      const users = `OU=Members,${guestOu}`;
      await administrator.addOu(users);
      const names = ["one", "two", "three"].map((name) => `CN=member ${name},${users}`);
      for (const dn of names)
        await administrator.addUser(dn, { sAMAccountName: /member (\w+)/.exec(dn)![1]! });
      const group = `CN=Group,${guestOu}`;
      await administrator.addGroup(group, names);
      const groups = connectGroups();
      const { watermark } = (await importAll({ kind: "full" }, groups)).complete;
      const membersOf = ({ entries }: { entries: readonly ImportEntry[] }) => {
        const last = entries.findLast((one) => one.kind === "object" && one.image.dn === group);
        return last?.kind === "object"
          ? valuesOf(last.image.attributes.member).map((one) => (one as Reference).dn)
          : undefined;
      };
      await administrator.move(names[0]!, `CN=member renamed,${users}`);
      const renamed = await importAll({ kind: "delta", watermark }, groups);
      expect(membersOf(renamed)?.sort()).toEqual([`CN=member renamed,${users}`, names[1], names[2]].sort());
      await administrator.delete(names[1]!);
      const deleted = await importAll({ kind: "delta", watermark: renamed.complete.watermark }, groups);
      expect(membersOf(deleted)?.sort()).toEqual([`CN=member renamed,${users}`, names[2]].sort());
    });

    test("a group comes again when its last member is deleted", async () => {
      const { guestOu } = open.directory;
      const [user, dn] = [`CN=last member,${guestOu}`, `CN=Group of one,${guestOu}`];
      await administrator.addUser(user, { sAMAccountName: "lastmember" });
      await administrator.addGroup(dn, [user]);
      const groups = connectGroups();
      const { watermark } = (await importAll({ kind: "full" }, groups)).complete;
      await administrator.delete(user);
      const { entries } = await importAll({ kind: "delta", watermark }, groups);
      const group = entries.findLast((one) => one.kind === "object" && one.image.dn === dn);
      expect(group).toMatchObject({ kind: "object" });
      expect(group?.kind === "object" && group.image.attributes.member).toBeUndefined();
    });

    test("where the account may replicate, delta imports ask for changes of the selected attributes by DirSync", async () => {
      const { guestOu } = open.directory;
      const users = `OU=Replicated,${guestOu}`;
      await administrator.addOu(users);
      const [one, two] = [`CN=replicated one,${users}`, `CN=replicated two,${users}`];
      const first = await administrator.addUser(one, { sAMAccountName: "replicated1" });
      await administrator.addUser(two, { sAMAccountName: "replicated2" });
      const dn = `CN=Replicated,${guestOu}`;
      await administrator.addGroup(dn, [one]);
      const groups = connectGroups();
      const { watermark } = (await importAll({ kind: "full" }, groups)).complete;
      expect(JSON.parse(watermark)).toMatchObject({ cookie: expect.stringMatching(/./) });
      expect(JSON.parse((await importAll({ kind: "full" })).complete.watermark).cookie).toBeUndefined();

      await administrator.replace(one, "comment", "no attribute of the connector");
      expect((await importAll({ kind: "delta", watermark }, groups)).entries).toEqual([]);

      const members = async () => {
        const { entries } = await importAll({ kind: "delta", watermark }, groups);
        const group = entries.find((entry) => entry.kind === "object" && entry.image.dn === dn);
        const value = group?.kind === "object" ? group.image.attributes.member : undefined;
        return valuesOf(value).map((member) => (member as Reference).dn);
      };
      await administrator.replace(dn, "member", one, two);
      expect((await members()).sort()).toEqual([one, two]);
      await administrator.replace(dn, "member", two);
      expect(await members()).toEqual([two]);
      await administrator.delete(one);
      const { entries } = await importAll({ kind: "delta", watermark }, groups);
      expect(entries).toContainEqual({ kind: "absent", anchor: first, absence: "deleted" });
    });

    test("a DirSync cookie that is refused, and a right that was withdrawn, ask for a full import", async () => {
      const groups = connectGroups();
      const { watermark } = (await importAll({ kind: "full" }, groups)).complete;
      const expired = { kind: "watermark-expired", message: expect.stringMatching(/full import is needed/) };
      const spoilt = JSON.stringify({ ...JSON.parse(watermark), cookie: "bm90IGEgY29va2ll" });
      await expect(importAll({ kind: "delta", watermark: spoilt }, groups)).rejects.toMatchObject(expired);
      await expect(importAll({ kind: "delta", watermark })).rejects.toMatchObject(expired);
      const numbers = connect({ dirSync: "never" });
      expect((await importAll({ kind: "delta", watermark }, numbers)).entries).toEqual([]);
    });

    test("members are added and removed one by one: what others did meanwhile stays", async () => {
      const { guestOu } = open.directory;
      const users = `OU=Crowd,${guestOu}`;
      await administrator.addOu(users);
      const [one, two, three] = ["one", "two", "three"].map((name) => `CN=crowd ${name},${users}`) as [
        string,
        string,
        string,
      ];
      for (const dn of [one, two, three])
        await administrator.addUser(dn, { sAMAccountName: `c-${/crowd (\w+)/.exec(dn)![1]}` });
      const groups = connectGroups();
      const dn = `CN=Crowd,${guestOu}`;
      const attributes: Readonly<Record<string, AttributeValue>> = {
        adminDescription: "Group_crowd",
        sAMAccountName: "crowd",
        groupType: -2_147_483_646n,
        member: [reference(one)],
      };
      const change = {
        ...newAccount(),
        objectType: "group",
        dn,
        attributes: Object.entries(attributes).map(([name, after]) => ({ name, after, rule: "test" })),
      };
      const [made] = await groups.exportBatch([change], context);
      if (made?.kind !== "exported") throw new Error(JSON.stringify(made));
      await administrator.replace(dn, "member", one, three);
      const swap = {
        ...update(made.anchor, dn, "member", [reference(one)], [reference(two)]),
        objectType: "group",
      };
      for (let times = 0; times < 2; times++) {
        expect(await groups.exportBatch([swap], context)).toMatchObject([{ kind: "exported" }]);
        expect((await administrator.read(dn))?.member?.sort()).toEqual([three, two].sort());
      }
    });

    test("contacts and units are created, imported, changed, moved and deleted like users, with what is in them", async () => {
      const { guestOu } = open.directory;
      const types = connectTypes({
        contact: ["displayName", "mail", "description"],
        organizationalUnit: ["description", "ou"],
      });
      const unit = await create(
        addOf("organizationalUnit", `OU=Partner,${guestOu}`, { description: "P" }),
        types,
      );
      const contact = await create(
        addOf("contact", `CN=Supplier,OU=Partner,${guestOu}`, {
          displayName: "Supplier",
          mail: "a@b.example",
        }),
        types,
      );
      const { entries, complete } = await importAll({ kind: "full" }, types);
      const byAnchor = new Map(entries.map((entry) => [entry.anchor, entry]));
      expect(byAnchor.get(contact.anchor)).toMatchObject({
        image: { objectType: "contact", attributes: { displayName: "Supplier", mail: "a@b.example" } },
      });
      expect(byAnchor.get(unit.anchor)).toMatchObject({
        image: { objectType: "organizationalUnit", attributes: { ou: ["Partner"], description: ["P"] } },
      });

      const moved = {
        ...update(unit.anchor, unit.dn, "description", "P", "Q"),
        objectType: "organizationalUnit",
      };
      const newDn = `OU=Former,${guestOu}`;
      for (let times = 0; times < 2; times++) {
        expect(await send({ ...moved, newDn }, types)).toMatchObject({ kind: "exported", dn: newDn });
      }
      const delta = await importAll({ kind: "delta", watermark: complete.watermark }, types);
      expect(delta.entries.findLast(({ anchor }) => anchor === contact.anchor)).toMatchObject({
        image: { dn: `CN=Supplier,${newDn}` },
      });
      const removal = (objectType: string, anchor: string): ExportChange => {
        return { ...update(anchor, "CN=any", "x", "", ""), objectType, change: "delete", attributes: [] };
      };
      expect(await send(removal("organizationalUnit", unit.anchor), types)).toMatchObject(
        failed("cd-error", /never deleted along/),
      );
      for (const [type, { anchor }] of [
        ["contact", contact],
        ["organizationalUnit", unit],
      ] as const) {
        for (let times = 0; times < 2; times++) {
          expect(await send(removal(type, anchor), types)).toMatchObject({ kind: "exported" });
        }
      }
    });

    test("an inetOrgPerson is an account of its own type", async ({ skip }) => {
      if (open.derivedUsers === false) return skip("this directory has no inetOrgPersons");
      const { guestOu } = open.directory;
      const names = [
        "sAMAccountName",
        "userAccountControl",
        "userPrincipalName",
        "displayName",
        "unicodePwd",
      ];
      const types = connectTypes({ inetOrgPerson: names, user: names });
      const person = {
        sAMAccountName: "iop",
        userPrincipalName: "iop@contoso.com",
        userAccountControl: 512n,
      };
      const made = await create(
        addOf("inetOrgPerson", `CN=iop,${guestOu}`, { ...person, displayName: "I" }),
        types,
      );
      const { entries } = await importAll({ kind: "full" }, types);
      expect(entries.filter(({ anchor }) => anchor === made.anchor)).toMatchObject([
        {
          image: { objectType: "inetOrgPerson", attributes: { displayName: "I", userAccountControl: 512n } },
        },
      ]);
      // It has a password: an account without one could not be enabled.
      expect((await administrator.read(made.dn))?.pwdLastSet?.[0]).toMatch(/^1\d{17}$/);
      const long = addOf("inetOrgPerson", `CN=long,${guestOu}`, { sAMAccountName: "a".repeat(21) });
      expect(await send(long, types)).toMatchObject(failed("invalid-attribute-value", /at most 20/));
      const users = connectTypes({ user: names });
      expect((await importAll({ kind: "full" }, users)).entries.map(({ anchor }) => anchor)).not.toContain(
        made.anchor,
      );
    });

    test("a group of more members than the directory shows at once is imported and exported whole", async () => {
      const { guestOu } = open.directory;
      const unit = `OU=Large,${guestOu}`;
      await administrator.addOu(unit);
      const members = Array.from({ length: open.manyMembers }, (_, index) => `CN=m${index},${unit}`);
      await administrator.addMany(members, "contact");
      const groups = connectTypes({ group: ["groupType", "member", "sAMAccountName"] });
      const all = members.map(reference);
      const attributes = { sAMAccountName: "large", groupType: -2_147_483_646n, member: all };
      const made = await create(addOf("group", `CN=Large,${guestOu}`, attributes), groups);
      const membersOf = async () => {
        const image = await imageOf(made.anchor, groups);
        return valuesOf(image.attributes.member)
          .map((one) => (one as Reference).dn)
          .sort();
      };
      expect(await membersOf()).toEqual(members.toSorted());
      const { entries } = await importAll({ kind: "full" }, groups);
      const imported = entries.find(({ anchor }) => anchor === made.anchor);
      expect(imported).toMatchObject({
        kind: "object",
        image: { attributes: { member: { length: members.length } } },
      });

      const left = members.slice(1);
      const change = update(made.anchor, made.dn, "member", all, left.map(reference));
      expect(await send({ ...change, objectType: "group" }, groups)).toMatchObject({ kind: "exported" });
      expect(await membersOf()).toEqual(left.toSorted());
    });

    test("an account whose account name or principal name is taken is not sent at all", async () => {
      const { baseDn } = open.directory;
      const change = newAccount();
      const value = (name: string) => String(change.attributes.find((one) => one.name === name)?.after);
      const holder = `CN=early ${change.id},CN=Users,${baseDn}`;
      await administrator.addUser(holder, {
        sAMAccountName: `e-${change.id}`,
        userPrincipalName: value("userPrincipalName").toUpperCase(),
      });
      const free = newAccount();
      const { anchor, dn } = await create(free);
      const wanted = update(
        anchor,
        dn,
        "userPrincipalName",
        `${free.id}@contoso.onmicrosoft.com`,
        value("userPrincipalName"),
      );
      const late = { ...context, mayWrite: () => false }; // nothing may be written, and nothing is tried
      expect(await connector.exportBatch([change, wanted], late)).toMatchObject([
        failed("cd-existing-object", /not ours.*userPrincipalName/),
        failed("cd-existing-object", /has the same userPrincipalName/),
      ]);
    });

    test("a name that somebody has elsewhere in the forest is found in the global catalog", async ({
      skip,
    }) => {
      const { globalCatalogUrl } = open;
      if (globalCatalogUrl === undefined) return skip("this directory has no global catalog");
      const { guestOu, baseDn } = open.directory;
      const change = newAccount();
      const holder = `CN=elsewhere ${change.id},CN=Users,${baseDn}`;
      const value = change.attributes.find(({ name }) => name === "userPrincipalName")?.after;
      await administrator.addUser(holder, {
        sAMAccountName: `x-${change.id}`,
        userPrincipalName: String(value),
      });
      // What lies above the OU is another domain to it.
      const forest = connect({ baseDn: guestOu, globalCatalogUrl });
      const late = { ...context, mayWrite: () => false };
      expect(await forest.exportBatch([change], late)).toMatchObject([
        failed("cd-existing-object", new RegExp(`${holder}, which is not ours`)),
      ]);
    });

    test("accounts are made members of the group whose members may not log on", async () => {
      const { guestOu } = open.directory;
      const group = `CN=Deny Logon,${guestOu}`;
      await administrator.addGroup(group, []);
      const denying = connectTypes(
        {
          user: [
            "adminDescription",
            "displayName",
            "sAMAccountName",
            "userAccountControl",
            "userPrincipalName",
          ],
        },
        { denyLogonGroup: group },
      );
      const change = newAccount();
      const { anchor, dn } = await create(change, denying);
      const isMember = async () => ((await administrator.read(group))?.member ?? []).includes(dn);
      expect(await isMember()).toBe(true);
      expect(await send({ ...change, outcomeUnknown: true }, denying)).toMatchObject({ kind: "exported" });
      await administrator.replace(group, "member");
      expect(await send(update(anchor, dn, "displayName", "Ann Lee", "Bea"), denying)).toMatchObject({
        kind: "exported",
      });
      expect(await isMember()).toBe(true);

      const nowhere = connectTypes(
        { user: ["displayName"] },
        { denyLogonGroup: `CN=No Such Group,${guestOu}` },
      );
      expect(await send(update(anchor, dn, "displayName", "Bea", "Cleo"), nowhere)).toMatchObject(
        failed("dn-attributes-failure", /DENY_LOGON_GROUP/),
      );
      await administrator.replace(group, "member");
      const powerless = connect({ denyLogonGroup: group });
      expect(await send(update(anchor, dn, "displayName", "Cleo", "Dora"), powerless)).toMatchObject(
        failed("permission-issue", /-DenyLogonGroup/),
      );
    });

    test("a domain controller that went and came back is used again", async ({ skip }) => {
      const { reset } = open;
      if (reset === undefined) return skip("this directory cannot be put back");
      const before = await importAll({ kind: "full" });
      await administrator.logOff();
      await reset(); // its database is an older one now, as after a restore
      administrator = await Administrator.logOn(open.directory, open.ca);
      await expect(importAll({ kind: "delta", watermark: before.complete.watermark })).rejects.toMatchObject({
        kind: "watermark-expired",
        message: expect.stringMatching(/gone back/),
      });
      expect((await importAll({ kind: "full" })).entries).toEqual([]);
      await create(newAccount());
    });
  });
}
