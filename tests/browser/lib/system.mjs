/** The running system, as `deploy/quickstart -- COMMAND` tells of it. */
export const system = {
  url: required("ROLLTOP_URL"),
  ca: required("ROLLTOP_CA"),
  cli: required("ROLLTOP_CLI"),
  /** The image store. */
  images: required("ROLLTOP_IMAGES"),
  user: { name: required("ROLLTOP_USER"), password: required("ROLLTOP_PASSWORD") },
  operator: { name: required("ROLLTOP_OPERATOR"), password: required("ROLLTOP_OPERATOR_PASSWORD") },
};

function required(name) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run this by deploy/quickstart -- COMMAND`);
  return value;
}
