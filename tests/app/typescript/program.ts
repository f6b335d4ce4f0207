// Predicts, lists and reads problems, with the types that openapi-typescript makes of /openapi.json.
// The arguments are the server's address, a key, and a patch in base64; the output is one line of JSON.
import createClient from "openapi-fetch";
import type { components, paths } from "./rosette.js";

// Not components["schemas"]["Answer"]: openapi-fetch 0.17 reads the tuple `logits` as an array.
type Answer = NonNullable<Awaited<ReturnType<typeof predict>>["data"]>;
type Problem = components["schemas"]["Problem"];

declare const process: { argv: string[] };
const [, , baseUrl = "", key = "", patch = ""] = process.argv;

function clientWith(bearer: string) {
  return createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${bearer}` } });
}

function predict(client: ReturnType<typeof clientWith>, file: Blob) {
  return client.POST("/predict", {
    params: { query: { rotations: "none", case_id: "case-ts" } },
    body: { file: "" }, // openapi-typescript types a file as a string; the serializer sends the file itself
    bodySerializer: () => {
      const form = new FormData();
      form.append("file", file, "patch.png");
      return form;
    },
  });
}

function must(answer: Answer | undefined): Answer {
  if (answer === undefined) throw new Error("no answer");
  return answer;
}

function text(problem: Problem | undefined): string {
  if (problem === undefined) throw new Error("no problem");
  return `${problem.status} ${problem.type} ${problem.detail}`;
}

const client = clientWith(key);
const png = new Blob([Uint8Array.from(atob(patch), (character) => character.charCodeAt(0))], { type: "image/png" });
const answer = must((await predict(client, png)).data);
const probability: number | null = answer.probability;
const page = await client.GET("/predictions", { params: { query: { case_id: "case-ts", limit: 5 } } });
const read = await client.GET("/predictions/{prediction_id}", { params: { path: { prediction_id: answer.id } } });
const refused = await predict(client, new Blob(["no image"]));
const stranger = await clientWith("nonsense").GET("/predictions");
console.log(
  JSON.stringify({
    id: answer.id,
    probability,
    decision: answer.decision,
    listed: page.data?.predictions.map((each) => each.id),
    read: read.data !== undefined,
    problems: [text(refused.error), text(stranger.error)],
  }),
);
