//! Apps that a test declares for every cluster of its fleet, and objects to fill them with.

use serde_json::{Value, json};

use super::fleet::Fleet;

/// An `Application` in the root of every cluster, from the plain directory `apps/NAME/CLUSTER`.
pub struct App {
    /// Its name.
    pub name: &'static str,
    /// `spec.syncPolicy.automated`; null for an app that a person syncs.
    pub automated: Value,
    /// Its annotations.
    pub annotations: Value,
}

impl App {
    /// Delivered, healed and pruned without anybody's doing.
    pub fn automated(name: &'static str) -> App {
        App { name, automated: json!({"prune": true, "selfHeal": true}), annotations: json!({}) }
    }
}

/// The roots of all clusters.
pub fn roots(fleet: &Fleet, apps: &[App]) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for member in &fleet.members {
        let declare = |app: &App| {
            let mut policy = json!({"syncOptions": ["CreateNamespace=true"]});
            if !app.automated.is_null() {
                policy["automated"] = app.automated.clone();
            }
            json!({
                "apiVersion": "argoproj.io/v1alpha1",
                "kind": "Application",
                "metadata": {"name": app.name, "annotations": app.annotations},
                "spec": {
                    "source": {
                        "repoURL": fleet.git.url(),
                        "path": format!("apps/{}/{}", app.name, member.name),
                        "targetRevision": "main",
                    },
                    "destination": {"server": "https://kubernetes.default.svc", "namespace": member.namespace},
                    "syncPolicy": policy,
                },
            })
        };
        let folder = format!("clusters/{}", member.name);
        let declared: Vec<String> = apps.iter().map(|app| declare(app).to_string()).collect();
        files.push((format!("{folder}/apps.yaml"), declared.join("\n---\n")));
        let kustomization = json!({"resources": ["apps.yaml"]});
        files.push((format!("{folder}/kustomization.yaml"), kustomization.to_string()));
    }
    files
}

/// The same object in an app's directory of every cluster, in a file of its name.
pub fn everywhere(fleet: &Fleet, app: &str, object: &Value) -> Vec<(String, String)> {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let file = |cluster: &str| (format!("apps/{app}/{cluster}/{kind}-{name}.yaml"), object.to_string());
    fleet.members.iter().map(|member| file(member.name)).collect()
}

/// The paths of files of [`everywhere`], to be removed.
pub fn paths(fleet: &Fleet, app: &str, file: &str) -> Vec<String> {
    fleet.members.iter().map(|member| format!("apps/{app}/{}/{file}.yaml", member.name)).collect()
}

/// A `ConfigMap` with one value.
pub fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}})
}

/// A `Deployment` with one pod.
pub fn deployment(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "main", "image": image}]},
            },
        },
    })
}
