"""The fields of KubeRay and Kubernetes that deploy/rayjob.yaml may use, as a JSON schema.

From the KubeRay CRD API reference of version 1.7.0 (docs.ray.io,
cluster/kubernetes/references/api.html), of whose types all fields are here, and from the reference
of Kubernetes 1.28 that it links to, of which pods get a choice: what is required of them here is
more than Kubernetes asks for. No Python package ships the operator's own schema.
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NUMBER: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
POSITIVE: Schema = NUMBER | {"minimum": 1}
SHARE: Schema = {"type": "number", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TEXTS: Schema = {
    "type": "object",
    "additionalProperties": TEXT,
}  # values that are no texts: refused
ANYTHING: Schema = {"type": "object"}  # a type that we do not use


def choice(*values: str) -> Schema:
    return {"enum": list(values)}


def listed(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def record(required: str = "", **fields: Schema) -> Schema:
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


# Quantities such as 500m or 24Gi.
QUANTITIES: Schema = {
    "type": "object",
    "propertyNames": choice("cpu", "memory", "ephemeral-storage", "nvidia.com/gpu"),
    "additionalProperties": {"type": "string", "pattern": r"^\d+(\.\d+)?(m|Ki|Mi|Gi|Ti)?$"},
}
RESOURCES = record("requests limits", requests=QUANTITIES, limits=QUANTITIES)
NAMED = {"name": TEXT, "value": TEXT, "valueFrom": ANYTHING}
SECURITY = {
    "runAsNonRoot": FLAG,
    "runAsUser": POSITIVE,
    "runAsGroup": POSITIVE,
    "seccompProfile": record("type", type=choice("RuntimeDefault", "Localhost", "Unconfined")),
}
POWERS = record(drop=listed(TEXT), add=listed(TEXT))
CONTAINER_SECURITY = record(
    "",
    allowPrivilegeEscalation=FLAG,
    privileged=FLAG,
    readOnlyRootFilesystem=FLAG,
    capabilities=POWERS,
    **SECURITY,
)
CONTAINER = record(
    "name image resources securityContext",
    name=TEXT,
    image=TEXT,
    imagePullPolicy=choice("Always", "IfNotPresent", "Never"),
    command=listed(TEXT),
    args=listed(TEXT),
    env=listed(record("name", **NAMED)),
    ports=listed(record("containerPort", containerPort=POSITIVE, name=TEXT, protocol=TEXT)),
    resources=RESOURCES,
    securityContext=CONTAINER_SECURITY,
    volumeMounts=listed(ANYTHING),
)
TOLERATION = record(
    key=TEXT,
    operator=choice("Exists", "Equal"),
    value=TEXT,
    effect=choice("NoSchedule", "PreferNoSchedule", "NoExecute"),
    tolerationSeconds=NUMBER,
)
POD = record(
    "containers serviceAccountName securityContext",
    serviceAccountName=TEXT,
    automountServiceAccountToken=FLAG,
    restartPolicy=choice("Always", "OnFailure", "Never"),
    priorityClassName=TEXT,
    nodeSelector=TEXTS,
    tolerations=listed(TOLERATION),
    terminationGracePeriodSeconds=NUMBER,
    securityContext=record("", fsGroup=POSITIVE, supplementalGroups=listed(POSITIVE), **SECURITY),
    imagePullSecrets=listed(record("name", name=TEXT)),
    containers=listed(CONTAINER) | {"minItems": 1},
    volumes=listed(ANYTHING),
)
METADATA = record("", name=TEXT, namespace=TEXT, labels=TEXTS, annotations=TEXTS)
TEMPLATE = record("spec", metadata=METADATA, spec=POD)

AUTH = record(
    mode=choice("disabled", "token"), secretName=TEXT, enableK8sTokenAuth={"const": False}
)
AUTOSCALER = record(
    resources=RESOURCES,
    image=TEXT,
    imagePullPolicy=choice("Always", "IfNotPresent", "Never"),
    securityContext=CONTAINER_SECURITY,
    idleTimeoutSeconds=NUMBER,
    upscalingMode=choice("Default", "Aggressive", "Conservative"),
    version=choice("v1", "v2"),
    env=listed(record("name", **NAMED)),
    envFrom=listed(ANYTHING),
    volumeMounts=listed(ANYTHING),
    command=listed(TEXT),
    args=listed(TEXT),
)
HEAD = record(
    "template rayStartParams",
    template=TEMPLATE,
    headService=ANYTHING,
    enableIngress=FLAG,
    ingressOptions=ANYTHING,
    resources=TEXTS,
    labels=TEXTS,
    rayStartParams=TEXTS,
    serviceType=choice("ClusterIP", "NodePort", "LoadBalancer"),
)
WORKERS = record(
    "groupName minReplicas maxReplicas rayStartParams template",
    suspend=FLAG,
    groupName=TEXT,
    replicas=NUMBER,
    minReplicas=NUMBER,
    maxReplicas=NUMBER,
    idleTimeoutSeconds=NUMBER,
    priority={"type": "integer"},
    resources=TEXTS,
    labels=TEXTS,
    rayStartParams=TEXTS,
    template=TEMPLATE,
    scaleStrategy=ANYTHING,
    numOfHosts=POSITIVE,
)
CLUSTER = record(
    "headGroupSpec",
    upgradeStrategy=ANYTHING,
    authOptions=AUTH,
    suspend=FLAG,
    managedBy=TEXT,
    autoscalerOptions=AUTOSCALER,
    headServiceAnnotations=TEXTS,
    enableInTreeAutoscaling=FLAG,
    gcsFaultToleranceOptions=ANYTHING,
    historyServerOptions=ANYTHING,
    networkPolicy=ANYTHING,
    tlsOptions=ANYTHING,
    headGroupSpec=HEAD,
    rayVersion=TEXT,
    workerGroupSpecs=listed(WORKERS),
)
JOB = record(
    "entrypoint rayClusterSpec",
    activeDeadlineSeconds=POSITIVE,
    backoffLimit=NUMBER,
    rayClusterSpec=CLUSTER,
    submitterPodTemplate=TEMPLATE,
    metadata=TEXTS,
    clusterSelector=TEXTS,
    submitterConfig=record(backoffLimit=NUMBER),
    managedBy=TEXT,
    deletionStrategy=ANYTHING,
    entrypoint=TEXT,
    runtimeEnvYAML=TEXT,
    jobId=TEXT,
    submissionMode=choice("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"),
    entrypointResources=TEXT,
    entrypointNumCpus=SHARE,
    entrypointNumGpus=SHARE,
    ttlSecondsAfterFinished=NUMBER,
    preRunningDeadlineSeconds=POSITIVE,
    shutdownAfterJobFinishes=FLAG,
    suspend=FLAG,
)
KIND = {"apiVersion": TEXT, "kind": TEXT, "metadata": METADATA}
DOCUMENTS: dict[str, Schema] = {
    "ServiceAccount": record(
        "metadata", **KIND | {"apiVersion": choice("v1")}, automountServiceAccountToken=FLAG
    ),
    "RayJob": record("metadata spec", **KIND | {"apiVersion": choice("ray.io/v1")}, spec=JOB),
}
