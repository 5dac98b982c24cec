/** One domain: its well-known objects, who may do what, and how names are found. */
import { randomBytes, randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { formatRdn, parseDn, type Rdn, rdnKey } from "./dn.ts";
import { LdapError, refusal, resultCode } from "./errors.ts";
import { guidFromBytes, guidToBytes, parseGuid, sidToBytes } from "./identifiers.ts";
import { hashPassword, noPassword } from "./passwords.ts";
import { derivedGuid, type SchemaClass, schemaClass, schemaObjects } from "./schema.ts";
import type { DirectoryStore, Entry, StoredValues } from "./store.ts";

export interface DomainOptions {
  /** `contoso.local` */
  readonly dnsName: string;
  /** Name of the OU under the domain root in which the service account may write. */
  readonly guestOu: string;
  /** Whether the service account sees deleted objects. */
  readonly readDeleted: boolean;
  readonly administratorPassword: string;
  readonly servicePassword: string;
}

export type Principal =
  | { readonly kind: "anonymous" }
  | { readonly kind: "administrator" | "service" | "user"; readonly entry: Entry };

const administratorRid = 500;
const domainUsersRid = 513;
const serviceRid = 1102;
export const serviceAccountName = "svc-vestibule";

/** The attributes of users in the guest OU that the service account may write; Samba grants the same list. */
const delegatedKeys: ReadonlySet<string> = new Set(
  readFileSync(join(import.meta.dirname, "../samba/delegated-attributes.txt"), "utf8")
    .toLowerCase()
    .split(/\s+/)
    .filter((name) => name !== ""),
);

/** GUIDs by which clients find well-known containers wherever they are ([MS-ADTS] 6.1.1.4). */
const wellKnownContainers = {
  A9D1CA15768811D1ADED00C04FD8D5CD: "CN=Users",
  AA312825768811D1ADED00C04FD8D5CD: "CN=Computers",
  "18E2EA80684F11D2B9AA00C04F79F805": "CN=Deleted Objects",
} as const;

const trustedForDelegation = 0x80000 | 0x1000000;

export class Directory {
  readonly store: DirectoryStore;
  readonly dnsName: string;
  readonly baseDn: string;
  readonly domainSid: string;
  readonly invocationId: string;
  readonly deletedObjects: Entry;
  readonly guestOu: Entry;
  /** The object of this server that holds its invocationId. */
  readonly serviceEntry: Entry;
  readonly configurationDn: string;
  readonly schemaDn: string;
  readonly #readDeleted: boolean;
  readonly #base: readonly Rdn[];

  /** Opens the domain in the store's journal, or makes it there. */
  constructor(store: DirectoryStore, options: DomainOptions) {
    this.store = store;
    this.dnsName = options.dnsName;
    this.baseDn = `DC=${options.dnsName.replaceAll(".", ",DC=")}`;
    this.#base = parseDn(this.baseDn);
    this.configurationDn = `CN=Configuration,${this.baseDn}`;
    this.schemaDn = `CN=Schema,${this.configurationDn}`;
    this.#readDeleted = options.readDeleted;
    if (!store.load()) this.#makeDomain(options);
    this.#makeSchema();

    this.domainSid = store.root.values.objectsid as string;
    this.deletedObjects = this.find(`CN=Deleted Objects,${this.baseDn}`)!;
    this.serviceEntry = this.find(`CN=NTDS Settings,${this.#serverDn()}`)!;
    this.invocationId = guidFromBytes(this.serviceEntry.values.invocationid as Uint8Array);
    const guestRdn = { type: "OU", value: options.guestOu };
    this.guestOu =
      store.root.children?.get(rdnKey(guestRdn)) ??
      store.create({
        parent: store.root,
        rdn: guestRdn,
        objectClass: schemaClass("organizationalUnit")!,
        values: {},
      });
  }

  dnOf(entry: Entry): string {
    if (entry.parent === undefined) return this.baseDn;
    return `${formatRdn(entry.rdn)},${this.dnOf(entry.parent)}`;
  }

  /** `S-1-5-21-…`, or undefined for objects that are no security principals. */
  sidOf(entry: Entry): string | undefined {
    if (entry.parent === undefined) return this.domainSid;
    return entry.rid === undefined ? undefined : `${this.domainSid}-${entry.rid}`;
  }

  /**
   * Finds an entry, deleted or not, by DN, `<GUID=…>`, `<SID=…>` or `<WKGUID=…,DN>`.
   * @throws LdapError invalidDnSyntax
   */
  find(name: string): Entry | undefined {
    const special = /^<(GUID|SID|WKGUID)=([^,>]*)(?:,(.*))?>$/i.exec(name.trim());
    return special === null ? this.findByRdns(parseDn(name)) : this.#findSpecial(name, special);
  }

  /** As `find`; for names that end at the root of the domain. */
  findByRdns(rdns: readonly Rdn[]): Entry | undefined {
    const base = this.#base;
    const tail = rdns.slice(-base.length);
    if (tail.length !== base.length || tail.some((rdn, i) => rdnKey(rdn) !== rdnKey(base[i]!)))
      return undefined;
    let entry: Entry | undefined = this.store.root;
    for (let i = rdns.length - base.length - 1; i >= 0; i--) entry = entry?.children?.get(rdnKey(rdns[i]!));
    return entry;
  }

  /** @throws LdapError noSuchObject, also for what the principal may not see or did not ask to see */
  resolve(name: string, principal: Principal, showDeleted: boolean): Entry {
    const entry = this.find(name);
    const container = entry === this.deletedObjects; // itself deleted, and found without the control on Samba
    if (
      entry === undefined ||
      (entry.deleted && !container && !(showDeleted && this.canRead(principal, entry)))
    ) {
      throw refusal.noSuchObject(name);
    }
    return entry;
  }

  /** Finds the account of a bind name: a DN, a user principal name, DOMAIN\account or a bare account name. */
  findAccount(name: string): Entry | undefined {
    const live = (entries: Iterable<Entry> | undefined) =>
      [...(entries ?? [])].find((entry) => !entry.deleted);
    const byAccountName = (account: string) => live(this.store.lookUp("samaccountname", account));
    if (/^[a-z]+=|^</i.test(name)) {
      try {
        return this.find(name);
      } catch {
        return undefined; // a bind does not tell a malformed name from an unknown one
      }
    }
    const [domain, account] = name.split("\\");
    if (account !== undefined) {
      const known = [this.dnsName, this.dnsName.split(".")[0]!].includes(domain!.toLowerCase());
      return known ? byAccountName(account) : undefined;
    }
    const explicit = live(this.store.lookUp("userprincipalname", name));
    if (explicit !== undefined || !name.toLowerCase().endsWith(`@${this.dnsName}`)) return explicit;
    return byAccountName(name.slice(0, -this.dnsName.length - 1));
  }

  principalOf(entry: Entry): Principal {
    if (entry.rid === administratorRid) return { kind: "administrator", entry };
    return { kind: entry.rid === serviceRid ? "service" : "user", entry };
  }

  canRead(principal: Principal, entry: Entry): boolean {
    if (principal.kind === "anonymous") return false;
    if (!entry.deleted || principal.kind === "administrator") return true;
    return principal.kind === "service" && this.#readDeleted;
  }

  canWrite(principal: Principal, entry: Entry, key: string): boolean {
    if (principal.kind === "administrator") return true;
    return this.#isDelegated(principal, entry) && delegatedKeys.has(key);
  }

  canResetPassword(principal: Principal, entry: Entry): boolean {
    return principal.kind === "administrator" || this.#isDelegated(principal, entry);
  }

  canCreate(principal: Principal, parent: Entry, objectClass: SchemaClass): boolean {
    if (principal.kind === "administrator") return true;
    return principal.kind === "service" && isWithin(parent, this.guestOu) && objectClass.name === "user";
  }

  canDelete(principal: Principal, entry: Entry): boolean {
    return principal.kind === "administrator" || this.#isDelegated(principal, entry);
  }

  /** @throws LdapError insufficientAccessRights: only administrators may make an account trusted for delegation */
  checkAccountControl(principal: Principal, before: number, after: number): void {
    if (principal.kind !== "administrator" && (after & ~before & trustedForDelegation) !== 0) {
      throw refusal.accessDenied("trust for delegation");
    }
  }

  #isDelegated(principal: Principal, entry: Entry): boolean {
    const below = entry !== this.guestOu && isWithin(entry, this.guestOu);
    return principal.kind === "service" && below && entry.objectClass.name === "user" && !entry.deleted;
  }

  #findSpecial(name: string, [, kind, value, below]: RegExpExecArray): Entry | undefined {
    const invalid = new LdapError(resultCode.invalidDnSyntax, 0x2032, `invalid DN: ${name}`);
    switch (kind!.toUpperCase()) {
      case "GUID": {
        const guid = parseGuid(value!);
        if (guid === undefined) throw invalid;
        return this.store.byGuid(guid);
      }
      case "SID": {
        const hex = /^(?:[0-9a-f]{2})+$/i.test(value!) ? Buffer.from(value!, "hex") : undefined;
        const sid = hex ?? sidToBytes(value!);
        if (sid === undefined) throw invalid;
        return this.findBySid(sid);
      }
      default: {
        const container = wellKnownContainers[value!.toUpperCase() as keyof typeof wellKnownContainers];
        return container === undefined || below === undefined
          ? undefined
          : this.find(`${container},${below}`);
      }
    }
  }

  findBySid(sid: Buffer): Entry | undefined {
    const domain = sidToBytes(this.domainSid)!;
    if (sid.equals(domain)) return this.store.root;
    if (sid.length !== domain.length + 4) return undefined;
    const entry = this.store.byRid(sid.readUInt32LE(domain.length));
    return entry !== undefined && sid.equals(sidToBytes(this.sidOf(entry)!)!) ? entry : undefined;
  }

  #serverDn(): string {
    return `CN=DC1,CN=Servers,CN=Default-First-Site-Name,CN=Sites,${this.configurationDn}`;
  }

  #makeDomain(options: DomainOptions): void {
    const store = this.store;
    const subAuthority = () => randomInt(1_000_000, 2 ** 32 - 1);
    const make = (
      parent: Entry | undefined,
      name: string,
      className: string,
      values: Record<string, StoredValues> = {},
      more: { rid?: number; root?: true } = {},
    ) => {
      const [rdn] = parseDn(name);
      return store.create({ parent, rdn: rdn!, objectClass: schemaClass(className)!, values, ...more });
    };
    const root = make(undefined, this.baseDn, "domainDNS", {
      objectsid: `S-1-5-21-${subAuthority()}-${subAuthority()}-${subAuthority()}`,
      minpwdlength: "7",
      pwdproperties: "1",
    });
    const configuration = make(root, "CN=Configuration", "configuration", {}, { root: true });
    make(configuration, "CN=Schema", "dMD", {}, { root: true });
    const sites = make(configuration, "CN=Sites", "sitesContainer");
    const site = make(sites, "CN=Default-First-Site-Name", "site");
    const server = make(make(site, "CN=Servers", "serversContainer"), "CN=DC1", "server");
    make(server, "CN=NTDS Settings", "nTDSDSA", { invocationid: randomBytes(16) });

    const users = make(root, "CN=Users", "container", { description: "Default container for user accounts" });
    make(root, "CN=Computers", "container");
    make(root, "CN=System", "container");
    const deleted = make(root, "CN=Deleted Objects", "container", {
      description: "Container for deleted objects",
    });
    store.update(deleted, { deleted: true });

    const account = (name: string, password: string | undefined, rid: number, userAccountControl: number) =>
      make(
        users,
        `CN=${name}`,
        "user",
        {
          samaccountname: name,
          useraccountcontrol: String(userAccountControl),
          unicodepwd: password === undefined ? noPassword : hashPassword(password),
          pwdlastset: "132000000000000000",
          ...(password === undefined ? {} : { userprincipalname: `${name}@${options.dnsName}` }),
        },
        { rid },
      );
    const administrator = account("Administrator", options.administratorPassword, administratorRid, 66048);
    account("Guest", undefined, 501, 66082);
    account("krbtgt", undefined, 502, 514);
    account(serviceAccountName, options.servicePassword, serviceRid, 66048);
    const globalGroup = "-2147483646";
    const group = (name: string, rid: number, members: Entry[]) =>
      make(
        users,
        `CN=${name}`,
        "group",
        {
          samaccountname: name,
          grouptype: globalGroup,
          ...(members.length === 0 ? {} : { member: members }),
        },
        { rid },
      );
    group("Domain Admins", 512, [administrator]);
    group("Domain Users", domainUsersRid, []);
  }

  #makeSchema(): void {
    const parent = this.find(this.schemaDn)!;
    for (const { name, objectClass, values } of schemaObjects()) {
      const guid = derivedGuid(`${objectClass} ${name}`);
      this.store.createFixed({
        parent,
        rdn: { type: "CN", value: name },
        objectClass: schemaClass(objectClass)!,
        values: { ...values, schemaidguid: guidToBytes(guid) },
        guid,
      });
    }
  }
}

/** Whether an entry is the ancestor or below it. */
export function isWithin(entry: Entry, ancestor: Entry): boolean {
  for (let at: Entry | undefined = entry; at !== undefined; at = at.parent) if (at === ancestor) return true;
  return false;
}
