import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { chainFinding, clockFinding } from "../../src/engine/connectors/ad/examine.ts";
import { permissionFinding } from "../../src/engine/connectors/graph/examine.ts";
import {
  answering,
  type Examined,
  examineAll,
  type Patient,
  patientsNamed,
} from "../../src/engine/doctor.ts";

const now = Date.UTC(2026, 0, 1);
const inDays = (days: number) => new Date(now + days * 86_400_000).toUTCString();

test.each([
  [400, "ok"],
  [29, "warning"],
  [-1, "warning"],
])("a chain whose first certificate expires in %i days is %s", (days, status) => {
  const certificate = (CN: string, valid_to: string) => ({ valid_to, subject: { CN } as never });
  const chain = [certificate("dc1", inDays(900)), certificate("issuing authority", inDays(days))];
  const finding = chainFinding("LDAPS", chain, "TLSv1.3", now);
  expect(finding).toMatchObject({
    status,
    message: expect.stringContaining(`issuing authority) does so in ${days} days`),
  });
});

test.each([
  [-30_000, "ok"],
  [90_000, "warning"],
  [-301_000, "failed"],
])("a clock that is %i ms off is %s", (difference, status) => {
  expect(clockFinding("svc is let in", now + difference, now)).toMatchObject({ status });
});

describe("permissions of the identity", () => {
  const token = (roles: readonly string[]) =>
    ["e30", Buffer.from(JSON.stringify({ roles })).toString("base64url"), ""].join(".");
  const types = ["user", "group"] as const;
  const inviting = { writable: true, invitationRedirectUrl: "https://x.example" };

  test.each([
    [["User.Read.All"], { writable: false }, "ok", "User.Read.All"],
    [[], { writable: false }, "failed", "lacks User.Read.All; it has none"],
    [["User.Read.All"], { writable: true }, "failed", "lacks User.ReadWrite.All"],
    [["User.ReadWrite.All"], inviting, "ok", "User.ReadWrite.All"],
    [["User.Invite.All"], inviting, "failed", "lacks User.ReadWrite.All; it has User.Invite.All"],
    [["User.Read.All", "Mail.Read"], { writable: false }, "warning", "more than it needs: Mail.Read"],
    [["User.Read.All"], { writable: false, groups: ["g"] }, "failed", "lacks GroupMember.Read.All"],
    [["User.Read.All", "GroupMember.Read.All"], { writable: false, groups: ["g"] }, "ok", "GroupMember"],
    [["Directory.Read.All"], { writable: false }, "warning", "Directory.Read.All"],
    [["User.Read.All", "GroupMember.Read.All"], { writable: false, types }, "failed", "lacks Group.Read.All"],
    [["User.Read.All", "Group.Read.All"], { writable: false, types }, "ok", "Group.Read.All"],
    [["Group.Read.All"], { writable: false, types: ["group"] as const }, "ok", "Group.Read.All"],
    [
      ["User.ReadWrite.All", "GroupMember.Read.All"],
      { writable: true, types },
      "failed",
      "lacks Group.ReadWrite.All",
    ],
    [["User.ReadWrite.All", "Group.ReadWrite.All"], { writable: true, types }, "ok", "Group.ReadWrite.All"],
  ])("%j for %j is %s", (roles, settings, status, message) => {
    const finding = permissionFinding(token(roles), settings);
    expect(finding).toMatchObject({ status, message: expect.stringContaining(message) });
    if (status !== "ok") expect(finding.remedy).toBeTruthy();
  });

  test("a token of the sandbox tells nothing, and is not shown", () => {
    const finding = permissionFinding("sandbox-token", { writable: false });
    expect(finding.status).toBe("ok");
    expect(finding.message).not.toContain("sandbox-token");
  });
});

test("the delegation script and the tests' domain grant the same, and nothing that widens rights", () => {
  const root = join(import.meta.dirname, "..", "..");
  const script = readFileSync(join(root, "infra/ad/Grant-VestibuleRights.ps1"), "utf8");
  const samba = readFileSync(join(root, "sandbox/samba/samba-dc.sh"), "utf8");
  const attributes = readFileSync(join(root, "sandbox/samba/delegated-attributes.txt"), "utf8").split(/\s+/);
  const [, forbidden = ""] = /\$forbidden = (.+)/.exec(script) ?? [];
  const names = [...forbidden.matchAll(/'([^']+)'/g)].map(([, name]) => name!);
  expect(names).toContain("servicePrincipalName");
  expect(attributes.filter((name) => names.includes(name))).toEqual([]);
  const resetPassword = /00299570-246d-11d0-a768-00aa006e0529/;
  for (const text of [script, samba]) {
    expect(text).toMatch(resetPassword);
    expect(text).toContain("delegated-attributes.txt");
  }
});

test("what does not answer in time is told, and the others are looked at", async () => {
  const silent: Patient = {
    of: "silent",
    async *examine() {
      await new Promise(() => undefined);
      yield { what: "never", status: "ok", message: "" };
    },
  };
  const refusing = answering("tables", "tables", "Check Storage.", () =>
    Promise.reject(new Error("no\nstack")),
  );
  const seen: Examined[] = [];
  for await (const one of examineAll(
    [silent, refusing, answering("queues", "queues", "", async () => 1)],
    20,
  )) {
    seen.push(one);
  }
  expect(seen).toMatchObject([
    { of: "silent", status: "failed" },
    { of: "tables", status: "failed", message: "no", remedy: "Check Storage." },
    { of: "queues", status: "ok" },
  ]);
});

test("what is asked for by a name that nobody has is a failure, not silence", async () => {
  const patients = ["settings", "tables", "ADMA"].map((of) => answering(of, of, "", async () => 1));
  const statuses = async (only?: readonly string[]) => {
    const seen: string[] = [];
    for await (const { of, status } of examineAll(patientsNamed(patients, only), 1000))
      seen.push(`${of} ${status}`);
    return seen;
  };
  expect(await statuses()).toEqual(["settings ok", "tables ok", "ADMA ok"]);
  expect(await statuses(["ADMA", "settings"])).toEqual(["settings ok", "ADMA ok"]);
  expect(await statuses(["ADAM", "tables"])).toEqual(["tables ok", "ADAM failed"]);
});
