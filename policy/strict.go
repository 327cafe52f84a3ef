package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// decodeOnce decodes the one JSON document in data into v, strictly, and
// requires that encoding v again says the same.
func decodeOnce(data []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return errors.New(clipTo(err.Error(), refused))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one document")
	}
	again, err := json.Marshal(v)
	if err != nil {
		return err
	}
	given, err := tree(data)
	if err != nil {
		return err
	}
	kept, err := tree(again)
	if err != nil {
		return err
	}
	if !bytes.Equal(marshal(given), marshal(kept)) {
		return errors.New("a null, a zero, an empty list or a differently spelt name: leave out what is not stated")
	}
	return nil
}

// tree parses JSON to maps, lists, strings, booleans and integers. It refuses
// repeated keys and numbers that are not integers.
func tree(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return jsonValue(d, 0, func(n json.Number) (any, error) {
		i, err := n.Int64()
		if err != nil {
			return nil, fmt.Errorf("number %s is no integer", clip(n.String()))
		}
		return i, nil
	})
}

// jsonValue reads the next value and refuses repeated keys.
func jsonValue(d *json.Decoder, depth int, number func(json.Number) (any, error)) (any, error) {
	if depth > 16 {
		return nil, errors.New("nested too deeply")
	}
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		if t == '[' {
			return jsonList(d, depth, number)
		}
		return jsonObject(d, depth, number)
	case json.Number:
		return number(t)
	default:
		return t, nil
	}
}

func jsonList(d *json.Decoder, depth int, number func(json.Number) (any, error)) (any, error) {
	list := []any{}
	for d.More() {
		v, err := jsonValue(d, depth+1, number)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, err
}

func jsonObject(d *json.Decoder, depth int, number func(json.Number) (any, error)) (any, error) {
	object := map[string]any{}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string)
		if _, twice := object[key]; twice {
			return nil, fmt.Errorf("key %q twice", clip(key))
		}
		if object[key], err = jsonValue(d, depth+1, number); err != nil {
			return nil, err
		}
	}
	_, err := d.Token()
	return object, err
}
