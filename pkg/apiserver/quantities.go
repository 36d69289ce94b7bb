package apiserver

import (
	"fmt"
	"sort"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// quantityNamer makes the error for a malformed quantity say where it is. The decoder of Kubernetes stops at
// such a value without telling its place, and it is the one mistake in a template that never gets as far as
// validation.
type quantityNamer struct {
	runtime.NegotiatedSerializer
}

// SupportedMediaTypes returns those of the serializer, with decoders that name the field.
func (n quantityNamer) SupportedMediaTypes() []runtime.SerializerInfo {
	infos := n.NegotiatedSerializer.SupportedMediaTypes()
	named := make([]runtime.SerializerInfo, len(infos))
	for i, info := range infos {
		if info.EncodesAsText {
			info.Serializer = namingSerializer{info.Serializer}
			if info.StrictSerializer != nil {
				info.StrictSerializer = namingSerializer{info.StrictSerializer}
			}
		}
		named[i] = info
	}
	return named
}

type namingSerializer struct {
	runtime.Serializer
}

// Decode decodes; if that fails on a quantity, the error names its field.
func (s namingSerializer) Decode(data []byte, defaults *schema.GroupVersionKind, into runtime.Object) (runtime.Object, *schema.GroupVersionKind, error) {
	obj, gvk, err := s.Serializer.Decode(data, defaults, into)
	if err == nil || runtime.IsStrictDecodingError(err) {
		return obj, gvk, err
	}
	if bad := malformedQuantities(data); len(bad) > 0 {
		err = bad.ToAggregate()
	}
	return obj, gvk, err
}

// malformedQuantities finds them in a Rollout in JSON or YAML.
func malformedQuantities(data []byte) field.ErrorList {
	var rollout struct {
		Spec struct {
			Template struct {
				Spec any `json:"spec"`
			} `json:"template"`
		} `json:"spec"`
	}
	if err := yaml.Unmarshal(data, &rollout); err != nil {
		return nil
	}
	return quantitiesIn(rollout.Spec.Template.Spec, field.NewPath("spec", "template", "spec"))
}

func quantitiesIn(value any, path *field.Path) (errs field.ErrorList) {
	switch value := value.(type) {
	case []any:
		for i, item := range value {
			errs = append(errs, quantitiesIn(item, path.Index(i))...)
		}
	case map[string]any:
		for _, key := range sortedKeys(value) {
			at := path.Child(key)
			switch key {
			case "limits", "requests", "overhead":
				resources, _ := value[key].(map[string]any)
				for _, name := range sortedKeys(resources) {
					errs = append(errs, checkQuantity(resources[name], at.Child(name))...)
				}
			case "sizeLimit", "divisor":
				errs = append(errs, checkQuantity(value[key], at)...)
			default:
				errs = append(errs, quantitiesIn(value[key], at)...)
			}
		}
	}
	return errs
}

func checkQuantity(value any, path *field.Path) field.ErrorList {
	text := fmt.Sprint(value)
	if _, err := resource.ParseQuantity(text); value == nil || err == nil {
		return nil
	}
	return field.ErrorList{field.Invalid(path, text, `must be a quantity, as "500m", "1.5" or "64Mi"`)}
}

func sortedKeys(m map[string]any) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
