/**
 * What an operator should know of a domain before he trusts it: certificate, clock, rights where they are needed and no
 * rights where they are not. Reads only.
 */
import type { DetailedPeerCertificate } from "node:tls";
import { connect } from "node:tls";
import type { Finding } from "../../ports/connector.ts";
import { type AdClient, domainScope, equals, not } from "./adClient.ts";
import { requireContainers, seesDeletedObjects } from "./domainController.ts";
import { objectTypeOf, typesFilter } from "./entries.ts";
import { effectiveRights, examineElsewhere, examineRights, listed, readPrincipal } from "./examineRights.ts";
import { isAccount } from "./exportScope.ts";
import { ok, told } from "./findings.ts";
import type { ConnectionTarget } from "./ldapConnection.ts";
import { connectionFailure, LdapError } from "./ldapErrors.ts";
import { type AdSchema, firstText } from "./schema.ts";
import { decodeAttribute } from "./values.ts";

export interface AdExamination {
  readonly client: AdClient;
  readonly target: ConnectionTarget;
  readonly baseDn: string;
  readonly bindDn: string;
  readonly containers: readonly string[];
  readonly denyLogonGroup: string | undefined;
  readonly globalCatalog: AdClient | undefined;
  readonly schema: () => Promise<AdSchema>;
}

const dayMs = 86_400_000;
const expiryWarningDays = 30;
/** Kerberos refuses what differs by more than five minutes, and whoever uses the accounts speaks Kerberos. */
const clockFailureMs = 300_000;
const clockWarningMs = 60_000;

export async function* examineDomain(examination: AdExamination): AsyncGenerator<Finding> {
  const { client, baseDn, containers } = examination;
  const certificate = await examineCertificate(examination.target);
  yield certificate;
  if (certificate.status === "failed") return;
  yield await examineLogon(examination);
  const places = await told("OUs", async () => {
    await requireContainers(client, baseDn, containers);
    return ok("OUs", `${containers.join("; ")} can be read.`);
  });
  yield places;
  if (places.status === "failed") return;
  let schema: AdSchema | undefined;
  yield await told("schema", async () => {
    schema = await examination.schema();
    return ok(
      "schema",
      `The directory has the object types ${[...schema.keys()].join(", ")} and their attributes.`,
    );
  });
  if (schema === undefined) return;
  const principal = await readPrincipal(client);
  for (const container of containers) yield await examineRights(client, schema, container, principal);
  yield await examineElsewhere(client, baseDn, containers, principal);
  if (examination.denyLogonGroup !== undefined) {
    yield await examineLogonDenial(examination, schema, examination.denyLogonGroup);
  }
  if (examination.globalCatalog !== undefined) yield await examineForest(examination.globalCatalog);
  yield await told("Deleted Objects", async () =>
    (await seesDeletedObjects(client, baseDn))
      ? ok("Deleted Objects", "The account reads deleted objects, so delta imports see deletions.")
      : {
          what: "Deleted Objects",
          status: "warning",
          message:
            "The account does not see deleted objects, so each delta import compares the whole population.",
          remedy: `Run infra/ad/Grant-VestibuleRights.ps1 with -ReadDeletedObjects, or: dsacls "CN=Deleted Objects,${baseDn}" /takeownership, then /G "ACCOUNT:LCRP".`,
        },
  );
}

// ---- the way in ------------------------------------------------------------------------------------------------

/** The chain as the connector verifies it: authority, name, TLS version, and how long it is good for. */
function examineCertificate({ url, tls, connectTimeoutMs }: ConnectionTarget): Promise<Finding> {
  const what = "LDAPS";
  const { hostname, port } = new URL(url);
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  return new Promise((resolve) => {
    const socket = connect({ ...tls, host, port: port === "" ? 636 : Number(port) });
    const fail = (error: Error) => {
      const { message } = connectionFailure(error, url);
      const remedy =
        "Where a hybrid connection carries it: its name and port must be those of AD_URL, and its manager must be connected.";
      settle({ what, status: "failed", message, remedy });
    };
    const timer = setTimeout(
      () => fail(new Error(`no connection within ${connectTimeoutMs / 1000} s`)),
      connectTimeoutMs,
    );
    const settle = (finding: Finding) => {
      clearTimeout(timer);
      socket.removeAllListeners();
      socket.on("error", () => {}); // the finding is made
      socket.destroy();
      resolve(finding);
    };
    socket.once("error", fail);
    socket.once("close", () => fail(new Error("the connection was closed during the TLS handshake")));
    socket.once("secureConnect", () => {
      settle(chainFinding(what, chainOf(socket.getPeerCertificate(true)), socket.getProtocol() ?? "TLS"));
    });
  });
}

function chainOf(leaf: DetailedPeerCertificate): DetailedPeerCertificate[] {
  const chain: DetailedPeerCertificate[] = [];
  for (
    let one: DetailedPeerCertificate | undefined = leaf;
    one?.valid_to !== undefined;
    one = one.issuerCertificate
  ) {
    if (chain.some(({ fingerprint256 }) => fingerprint256 === one?.fingerprint256)) break; // the root issued itself
    chain.push(one);
  }
  return chain;
}

export function chainFinding(
  what: string,
  chain: readonly Pick<DetailedPeerCertificate, "subject" | "valid_to">[],
  protocol: string,
  now = Date.now(),
): Finding {
  const [first] = [...chain].sort((a, b) => Date.parse(a.valid_to) - Date.parse(b.valid_to));
  if (first === undefined) return { what, status: "failed", message: "The directory showed no certificate." };
  const days = Math.floor((Date.parse(first.valid_to) - now) / dayMs);
  const name = first.subject?.CN ?? "without a name";
  const message = `${protocol}, ${chain.length} certificates, trusted; the first to expire (${name}) does so in ${days} days.`;
  if (days > expiryWarningDays) return ok(what, message);
  const remedy =
    "Renew it on the domain controller before then; with another authority, set AD_CA_CERTIFICATE first.";
  return { what, status: "warning", message, remedy };
}

function examineLogon({ client, bindDn }: AdExamination): Promise<Finding> {
  return told("logon", async () => {
    const root = await client.read("", ["currentTime", "dnsHostName"]);
    const [text] = root?.attributes.get("currenttime") ?? [];
    const time = text && decodeAttribute(clockAttribute, [text]);
    const host = (root && firstText(root, "dnsHostName")) ?? "the domain controller";
    if (typeof time !== "object" || !("ticks" in time)) return ok("logon", `${bindDn} is let in by ${host}.`);
    return clockFinding(`${bindDn} is let in by ${host}`, Number(time.ticks / 10_000n) - 11_644_473_600_000);
  });
}

const clockAttribute = { name: "currentTime", type: "dateTime", multiValued: false, utcTime: false } as const;

export function clockFinding(logon: string, directoryMs: number, now = Date.now()): Finding {
  const differenceMs = Math.abs(now - directoryMs);
  const message = `${logon}; its clock differs by ${Math.round(differenceMs / 1000)} s.`;
  if (differenceMs < clockWarningMs) return ok("logon", message);
  const status = differenceMs < clockFailureMs ? "warning" : "failed";
  const remedy =
    "Kerberos refuses more than 300 s. Set the time source of the domain controller, or of this machine.";
  return { what: "logon", status, message, remedy };
}

// ---- what settings ask for beyond the OUs ----------------------------------------------------------------------

/** The group that denies the logon: it is there, its members may be written, and every account in scope is one. */
function examineLogonDenial(
  { client, containers }: AdExamination,
  schema: AdSchema,
  group: string,
): Promise<Finding> {
  const what = "deny-logon group";
  return told(what, async () => {
    const entry = await client.read(group, ["groupType", ...effectiveRights]);
    if (entry?.attributes.has("grouptype") !== true) {
      const remedy = "Create the group, or correct DENY_LOGON_GROUP: docs/kerberos.md.";
      return { what, status: "failed", message: `There is no group ${group}.`, remedy };
    }
    const told = firstText(entry, "sDRightsEffective") !== undefined;
    if (told && !listed(entry, "allowedAttributesEffective").has("member")) {
      const message = `The account may not make accounts members of ${group}.`;
      const remedy = `Run infra/ad/Grant-VestibuleRights.ps1 -DenyLogonGroup "${group}".`;
      return { what, status: "failed", message, remedy };
    }
    const outside = await countNonMembers(client, schema, containers, group);
    if (outside === 0) return ok(what, `Every account in the OUs is a member of ${group}.`);
    const message = `${outside} accounts in the OUs are not members of ${group}.`;
    const remedy =
      "They become members when they are next changed. To have it at once, add them: docs/kerberos.md says how.";
    return { what, status: "warning", message, remedy };
  });
}

async function countNonMembers(
  client: AdClient,
  schema: AdSchema,
  containers: readonly string[],
  group: string,
): Promise<number> {
  let count = 0;
  for (const container of containers) {
    const search = client.search(container, {
      filter: typesFilter(schema, not(equals("memberOf", group))),
      attributes: ["objectClass"],
      controls: [domainScope],
    });
    for await (const { entries } of search) {
      count += entries.filter((entry) => {
        const type = objectTypeOf(schema, entry);
        return type !== undefined && isAccount(type);
      }).length;
    }
  }
  return count;
}

function examineForest(globalCatalog: AdClient): Promise<Finding> {
  const what = "global catalog";
  return told(what, async () => {
    // Only on the ports of the global catalog does a search begin at the root of everything. [MS-ADTS] 3.1.1.3.2
    const search = globalCatalog.search("", {
      filter: equals("objectClass", "domainDNS"),
      attributes: ["1.1"],
    });
    const domains: string[] = [];
    try {
      for await (const { entries } of search) domains.push(...entries.map(({ dn }) => dn));
    } catch (error) {
      if (!(error instanceof LdapError)) throw error; // refused: it is none
    }
    if (domains.length > 0) {
      return ok(what, `Names are looked for in ${domains.join("; ")} before they are given.`);
    }
    const remedy =
      "AD_GLOBAL_CATALOG_URL must lead to port 3269 of a domain controller with the global catalog.";
    return { what, status: "failed", message: "The server is no global catalog.", remedy };
  });
}
