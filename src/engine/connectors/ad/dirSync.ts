/**
 * Changes as replication sees them (the DirSync control). Against update sequence numbers it tells changes of the
 * selected attributes only, so a logon (lastLogonTimestamp) makes no work. Used where the account has the right
 * "Replicating Directory Changes" on the domain; it is no right that Vestibule asks for.
 *
 * The cookie says up to where a client knows the naming context, whatever its filter: [MS-DRSR] 5.115.3 makes a
 * GetChanges request of the cookie and applies the filter to its reply. So a full import takes one with a filter that
 * only the domain itself matches, and lists what is in scope as ever:
 *
 *   full    cookie of now ──► listing ──────────► watermark with the cookie
 *   delta   changes since the cookie ──► objects read whole by their GUIDs ──► the next cookie
 *
 * A cookie of another domain controller would be honoured, but perhaps by sending everything; the watermark's own check
 * comes before that.
 */
import { ConnectorError } from "../../ports/connector.ts";
import { type AdClient, any, domainScope, equals, type Filter, showDeleted } from "./adClient.ts";
import { readAttributes, typesFilter } from "./entries.ts";
import { LdapError, readFailure } from "./ldapErrors.ts";
import type { LdapEntry } from "./ldapMessages.ts";
import type { AdSchema } from "./schema.ts";

export interface DirSyncScope {
  readonly client: Pick<AdClient, "search" | "dirSync">;
  readonly schema: AdSchema;
  readonly baseDn: string;
  readonly pageSize: number;
}

/** Without these a rename or a move is not told. */
const nameAttributes = ["name", "parentGUID"];
/** So many GUIDs in one filter. */
const guidsAtOnce = 100;
/** More than that is a case for a full import, which can be continued in smaller pieces. */
const changesMax = 20_000;

/**
 * Cookies on the way to the present, the last of them with `last`; nothing when the account may not use them.
 * @param from the cookie of an earlier step, base64; undefined at the beginning
 */
export async function* presentCookies(
  scope: DirSyncScope,
  from: string | undefined,
): AsyncGenerator<{ readonly cookie: string; readonly last: boolean }> {
  let cookie: Buffer = Buffer.from(from ?? "", "base64");
  try {
    for (let more = true; more; ) {
      const answer = await scope.client.dirSync(scope.baseDn, {
        filter: equals("objectClass", "domainDNS"),
        attributes: ["objectGUID"],
        cookie,
      });
      ({ more, cookie } = answer);
      if (more) yield { cookie: cookie.toString("base64"), last: false };
    }
    // What a delta import will ask for must be accepted too, or each of them would end in a full import.
    await scope.client.dirSync(scope.baseDn, { ...request(scope), cookie });
  } catch (error) {
    if (!(error instanceof LdapError)) throw error;
    return;
  }
  yield { cookie: cookie.toString("base64"), last: true };
}

export interface DirSyncPage {
  /** Whole objects, deleted ones among them. */
  readonly entries: readonly LdapEntry[];
  /** Those of `entries` that were created, renamed or moved. */
  readonly renamed: readonly LdapEntry[];
  /** Where another process goes on after this page. */
  readonly cookie: string;
}

/** @throws ConnectorError "watermark-expired" when the cookie is refused, or the right was withdrawn. */
export async function* changesSince(scope: DirSyncScope, since: string): AsyncGenerator<DirSyncPage> {
  let cookie: Buffer = Buffer.from(since, "base64");
  for (let more = true; more; ) {
    const answer = await scope.client.dirSync(scope.baseDn, { ...request(scope), cookie }).catch((error) => {
      throw error instanceof LdapError ? cookieRefused(error) : error;
    });
    const guids = uniqueGuids(answer.entries);
    if (guids.length > changesMax) {
      const message = `${guids.length} objects of the domain changed since the last import. A full import is needed.`;
      throw new ConnectorError("watermark-expired", message);
    }
    const named = new Set(answer.entries.filter(isNamedAnew).map(guidKey));
    for (let at = 0; at === 0 || at < guids.length; at += scope.pageSize) {
      const entries = await readWhole(scope, guids.slice(at, at + scope.pageSize));
      const last = at + scope.pageSize >= guids.length;
      // Within an answer there is no cookie: whoever stops there begins it again.
      const reached = last ? answer.cookie : cookie;
      const renamed = entries.filter((entry) => named.has(guidKey(entry)));
      yield { entries, renamed, cookie: reached.toString("base64") };
    }
    ({ more, cookie } = answer);
  }
}

const request = ({ schema }: DirSyncScope) => ({
  filter: typesFilter(schema),
  attributes: [...readAttributes(schema), ...nameAttributes],
});

function cookieRefused(error: LdapError): ConnectorError {
  const message = `The directory does not go on from the last import (${error.message}). A full import is needed.`;
  return new ConnectorError("watermark-expired", message, { cause: error });
}

const guidKey = (entry: LdapEntry) => entry.attributes.get("objectguid")?.[0]?.toString("hex") ?? "";
const isNamedAnew = ({ attributes }: LdapEntry) => attributes.has("name") || attributes.has("parentguid");

function uniqueGuids(entries: readonly LdapEntry[]): Buffer[] {
  const guids = entries.map(({ attributes }) => attributes.get("objectguid")?.[0]);
  const known = guids.filter((guid) => guid !== undefined);
  return [...new Map(known.map((guid) => [guid.toString("hex"), guid])).values()];
}

async function readWhole(scope: DirSyncScope, guids: readonly Buffer[]): Promise<LdapEntry[]> {
  const found: LdapEntry[] = [];
  for (let at = 0; at < guids.length; at += guidsAtOnce) {
    const wanted: Filter[] = guids.slice(at, at + guidsAtOnce).map((guid) => equals("objectGUID", guid));
    const search = scope.client.search(scope.baseDn, {
      filter: any(...wanted),
      attributes: readAttributes(scope.schema),
      controls: [domainScope, ...showDeleted],
      pageSize: scope.pageSize,
    });
    try {
      for await (const { entries } of search) found.push(...entries);
    } catch (error) {
      throw error instanceof LdapError ? readFailure(error, "Reading changed objects") : error;
    }
  }
  return found;
}
