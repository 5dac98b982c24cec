import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { refusal } from "../../src/engine/connectors/graph/exportErrors.ts";
import type { AttributeValue } from "../../src/engine/core/values.ts";
import type { Connector, ExportChange } from "../../src/engine/ports/connector.ts";
import { type GraphBench, openGraph } from "../support/graph.ts";

const definition = {
  name: "OUT",
  objectTypes: [
    {
      name: "user",
      attributes: [
        "accountEnabled",
        "companyName",
        "displayName",
        "employeeId",
        "id",
        "mail",
        "mailNickname",
        "onPremisesExtensionAttributes.extensionAttribute1",
        "onPremisesExtensionAttributes.extensionAttribute2",
        "userPrincipalName",
        "userType",
      ],
    },
  ],
};
const redirect = { invitationRedirectUrl: "https://myapps.microsoft.com" };

let bench: GraphBench;
let connector: Connector;
beforeAll(async () => {
  bench = await openGraph({ guests: 2, members: 2 });
  connector = bench.connect({ writable: true, filter: "all", ...redirect }, definition);
});
afterAll(() => bench.close());
beforeEach(() => bench.admin("DELETE", "/faults"));

let number = 0;
function add(attributes: Readonly<Record<string, AttributeValue>>, outcomeUnknown = false): ExportChange {
  return {
    id: `add-${++number}`,
    objectType: "user",
    change: "add",
    anchor: null,
    dn: `new ${number}`,
    attributes: Object.entries(attributes).map(([name, after]) => ({ name, after, rule: "test" })),
    outcomeUnknown,
  };
}
const member = (name: string) => ({
  accountEnabled: true,
  displayName: name,
  employeeId: name,
  mailNickname: name,
  userPrincipalName: `${name}@contoso.com`,
});
const guest = (name: string) => ({ displayName: name, employeeId: name, mail: `${name}@fabrikam.com` });
const again = (change: ExportChange) => ({ ...change, outcomeUnknown: true });

async function send(change: ExportChange, over = connector) {
  const [result] = await over.exportBatch([change], bench.context);
  return result!;
}
async function sent(change: ExportChange) {
  const result = await send(change);
  if (result.kind !== "exported") throw new Error(result.message);
  return result;
}
const fault = (one: object) => bench.admin("POST", "/faults", one);
async function users(): Promise<number> {
  return Number((await bench.admin("GET", "/users?state=active&top=1")).count);
}
const read = (id: string) => bench.admin("GET", `/users/${id}`);

describe("users", () => {
  test("a new user has a password that nobody knows, and parts of structures come together", async () => {
    const { anchor } = await sent(
      add({
        ...member("first"),
        "onPremisesExtensionAttributes.extensionAttribute1": "S-1-5-21",
        "onPremisesExtensionAttributes.extensionAttribute2": "two",
      }),
    );
    const update: ExportChange = {
      ...add({}),
      change: "update",
      anchor,
      dn: anchor,
      attributes: [
        { name: "onPremisesExtensionAttributes.extensionAttribute2", before: "two", rule: "test" },
      ],
    };
    await sent(update);
    expect(await read(anchor)).toMatchObject({
      onPremisesExtensionAttributes: { extensionAttribute1: "S-1-5-21", extensionAttribute2: null },
      userType: "Member",
    });
    expect(JSON.stringify(bench.log)).not.toMatch(/password/i);
  });

  test("a create whose answer is lost is found again, and nobody is made twice", async () => {
    const change = add(member("lost"));
    const before = await users();
    await fault({ method: "POST", pathPattern: "/v1.0/users", reset: true });
    await expect(send(change)).rejects.toMatchObject({ kind: "unreachable" });
    expect(await send(again(change))).toMatchObject({ kind: "exported", resumed: true });
    expect(await users()).toBe(before + 1);
  });

  test("a create that the service answers with 503 is not sent twice in one go", async () => {
    const change = add(member("busy"));
    await fault({ method: "POST", pathPattern: "/v1.0/users", status: 503 });
    await expect(send(change)).rejects.toMatchObject({ kind: "unreachable" });
    const result = await send(again(change));
    expect(result).toMatchObject({ kind: "exported" });
    expect(result).not.toHaveProperty("resumed");
  });

  test("what is throttled was not begun: it waits as long as the service says and goes on", async () => {
    await fault({ method: "POST", pathPattern: "/v1.0/users", status: 429, retryAfter: 0.2, times: 2 });
    const begun = Date.now();
    expect(await send(add(member("throttled")))).toMatchObject({ kind: "exported" });
    expect(Date.now() - begun).toBeGreaterThan(350);
  });

  test("a change and a delete whose answers are lost are done once more, which changes nothing", async () => {
    const { anchor } = await sent(add(member("changed")));
    const change = { ...add({}), anchor, dn: anchor };
    await fault({ method: "PATCH", reset: true });
    const attributes = [{ name: "companyName", after: "Fabrikam", rule: "test" }];
    await sent({ ...change, change: "update", attributes });
    expect(await read(anchor)).toMatchObject({ companyName: "Fabrikam" });
    await fault({ method: "DELETE", reset: true });
    await sent({ ...change, change: "delete" });
    expect(await read(anchor)).toMatchObject({ state: "deleted" });
  });

  test("a user outside of the filter is neither changed nor deleted", async () => {
    const { anchor } = await sent(add(member("outside")));
    const guestsOnly = bench.connect({ writable: true }, definition);
    const change = { ...add({}), anchor, dn: anchor };
    const attributes = [{ name: "companyName", after: "Fabrikam", rule: "test" }];
    expect(await send({ ...change, change: "update", attributes }, guestsOnly)).toMatchObject({
      code: "cd-missing-object",
    });
    expect(await send({ ...change, change: "delete" }, guestsOnly)).toMatchObject({
      code: "cd-missing-object",
    });
    expect(await send(add(member("outside")), guestsOnly)).toMatchObject({ code: "cd-existing-object" });
    const present = await read(anchor);
    expect(present).toMatchObject({ state: "active" });
    expect(present).not.toHaveProperty("companyName");
  });

  test("a rename is refused with what to change in the rule", async () => {
    const { anchor } = await sent(add(member("renamed")));
    const result = await send({ ...add({}), change: "update", anchor, dn: anchor, newDn: "other" });
    expect(result).toMatchObject({
      code: "modify-naming-attribute",
      message: expect.stringMatching(/initial/),
    });
  });

  test("a connector that is not writable sends nothing", async () => {
    const reader = bench.connect({}, definition);
    expect(reader.capabilities.export).toBe(false);
    await expect(send(add(member("never")), reader)).rejects.toMatchObject({ kind: "configuration" });
  });
});

describe("invitations", () => {
  test("a guest for whom no principal name flows is invited, and gets the rest of the values", async () => {
    const { anchor } = await sent(add({ ...guest("ann"), companyName: "Fabrikam" }));
    expect(await read(anchor)).toMatchObject({
      companyName: "Fabrikam",
      creationType: "Invitation",
      displayName: "ann",
      employeeId: "ann",
      externalUserState: "PendingAcceptance",
      mail: "ann@fabrikam.com",
      userPrincipalName: "ann_fabrikam.com#EXT#@contoso.onmicrosoft.com",
    });
    expect(await send(add(guest("ann")))).toMatchObject({ anchor, resumed: true });
  });

  test.each(["POST", "PATCH"])("cut off at the %s, it goes on with the same guest", async (method) => {
    const name = `cut.${method.toLowerCase()}`;
    const change = add({ ...guest(name), companyName: "Fabrikam" });
    const before = await users();
    await fault({
      method,
      pathPattern: method === "POST" ? "/v1.0/invitations" : "/v1.0/users",
      ...(method === "POST" ? { reset: true } : { status: 503, times: 4 }),
    });
    await expect(send(change)).rejects.toMatchObject({ kind: "unreachable" });
    await bench.admin("DELETE", "/faults");
    const { anchor, resumed } = await sent(again(change));
    expect(resumed).toBe(true);
    expect(await users()).toBe(before + 1);
    expect(await read(anchor)).toMatchObject({ companyName: "Fabrikam", employeeId: name });
  });

  test("somebody else's guest with the mail address is a clash, and is not touched", async () => {
    const { users: made } = await bench.admin("POST", "/guests", { mail: "taken@fabrikam.com" });
    const [{ id }] = made as [{ id: string }];
    const result = await send(add(guest("taken")));
    expect(result).toMatchObject({ code: "cd-existing-object", message: expect.stringContaining(id) });
    expect(await read(id)).not.toHaveProperty("employeeId");
  });

  test("without a mail address nobody is invited", async () => {
    const result = await send(add({ displayName: "Nobody", employeeId: "nobody" }));
    expect(result).toMatchObject({ code: "invalid-attribute-value", message: expect.stringMatching(/mail/) });
  });
});

describe("refusals", () => {
  test.each([
    [
      400,
      "Another object with the same value for property userPrincipalName already exists.",
      "cd-existing-object",
    ],
    [
      400,
      "Unable to update the specified properties for on-premises mastered Directory Sync objects.",
      "permission-issue",
    ],
    [
      400,
      "The specified password does not comply with password complexity requirements.",
      "password-policy-violation",
    ],
    [400, "The domain portion of the userPrincipalName property is invalid.", "invalid-attribute-value"],
    [400, "Invalid value specified for property 'jobTitle' of resource 'User'.", "invalid-attribute-value"],
    [400, "Property 'creationType' is read-only and cannot be set.", "schema-violation"],
    [403, "Insufficient privileges to complete the operation.", "permission-issue"],
    [404, "Resource 'x' does not exist.", "cd-missing-object"],
    [409, "Conflict", "cd-existing-object"],
    [422, "Something new", "cd-error"],
  ])("%i %s is %s", (status, message, code) => {
    const answer = {
      status,
      headers: { "request-id": "r1" },
      body: { error: { code: "Request_BadRequest", message } },
    };
    const result = refusal(answer, "Ann");
    expect(result).toMatchObject({
      code,
      message: expect.stringMatching(/^Ann: Graph answered .*request r1\. \S/),
    });
  });
});
